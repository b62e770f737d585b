"""Directories of another major version of PostgreSQL: refused, and upgraded.

The older version is a real one where `make test-versions` has installed one. Otherwise a copy of
the installed version plays its part: the installed one then claims to be the next version.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.catalog.upgrade import prepare
from pgchroma.embedded import host, transferring, upgrade
from pgchroma.embedded.accounts import Account
from pgchroma.embedded.directory import SWITCH_NOTE
from pgchroma.embedded.initdb import Initdb
from pgchroma.embedded.locks import FileLock
from pgchroma.embedded.transferring import ShortServer
from pgchroma.embedded.upgrade import find_binaries, remove_old_data, upgrade_data
from tests.cli.test_database import Run, run
from tests.compactor.conftest import QUIET, compact, filled
from tests.embedded.conftest import mounted

__all__ = ("run",)

pytestmark = pytest.mark.database

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".venv" / "versions" / "postgresql16"
REAL = next(INSTALLED.glob("*/pginstall/bin"), None)

needs_another = pytest.mark.skipif(
    REAL is None, reason="no older PostgreSQL with pgvector: make test-versions"
)


@dataclass(frozen=True, slots=True)
class Old:
    """The older version.

    Attributes:
        binaries: Its programs.
        is_real: Whether it is older indeed.
    """

    binaries: Path
    is_real: bool


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed programs, in another environment."""
    environment = tmp_path_factory.mktemp("environment")
    package = host.binaries().parents[1]
    place = environment / "lib" / "python3.11" / "site-packages"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, place / part.name, copy_function=_link)
    return environment


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(params=[pytest.param("older", marks=[needs_another, pytest.mark.slow]), "same"])
def old(request: pytest.FixtureRequest, copied: Path, monkeypatch: pytest.MonkeyPatch) -> Old:
    if request.param == "older":
        assert REAL is not None
        return Old(REAL, is_real=True)
    _claim_next(monkeypatch)
    return Old(find_binaries(copied), is_real=False)


def _claim_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the installed version claim to be the next one."""
    own, major_version = host.binaries(), host.major_version
    following = str(int(major_version(own)) + 1)
    monkeypatch.setattr(
        host, "major_version", lambda path: following if path == own else major_version(path)
    )


def _serving(binaries: Path, directory: Path) -> Any:
    data = directory / "postgres"
    account = Account.of(directory, data, binaries)
    lock = FileLock(directory / "pgchroma.server.lock")
    return ShortServer(
        binaries, account, data, directory / "postgres.log", lock, is_read=False
    ).running()


@pytest.fixture
def directory(old: Old, tmp_path: Path) -> Path:
    """A directory of the older version, with collections, roles and another database."""
    tmp_path.chmod(0o755)
    path = tmp_path / "chroma"
    path.mkdir(mode=0o755)
    data = path / "postgres"
    options = ["--username=pgchroma", "--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync"]
    with FileLock(path / "pgchroma.start.lock") as lock:
        account = Account.of(path, data, old.binaries)
        Initdb(old.binaries, account, lock, options).make(path / "postgres.part", data)
    (path / "postgres.part").rmdir()
    with _serving(old.binaries, path) as server:
        maintenance = make_conninfo(server, dbname="template1")
        with psycopg.connect(maintenance, autocommit=True) as plain:
            plain.execute("alter database postgres rename to pgchroma")
            plain.execute("create role analyst login password 'sesame'")
            plain.execute('create database "it\'s"')
            plain.execute("alter role analyst set work_mem = '5MB'")
            plain.execute('create role "pgchroma:app:acme"')
            plain.execute('grant "pgchroma:app:acme" to analyst')
        with psycopg.connect(make_conninfo(server, dbname="it's"), autocommit=True) as plain:
            plain.execute('create table "a table" (x int, y text)')
            plain.execute(
                "insert into \"a table\" select n, repeat('é', n) from generate_series(1, 99) as n"
            )
        url = make_conninfo(server, dbname="pgchroma")
        with pgchroma.PostgresClient(url, QUIET) as client:
            papers = filled(client, count=300)
            papers.add(ids="text", documents="a document", embeddings=np.ones((1, 8)))
            filled(client, "counts_of-sheep", count=3)
            papers.delete(ids=["1", "2"])
        compact(url)
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute("grant usage on schema pgchroma to analyst")
    return path


def _check(path: Path) -> None:
    with pgchroma.PersistentClient(path, QUIET) as client:
        papers = client.get_collection("papers")
        assert papers.count() == 299
        assert papers.get(ids="text")["documents"] == ["a document"]
        found = papers.query(query_embeddings=np.ones((1, 8)), n_results=3)
        assert found["ids"][0][0] == "text"
        papers.add(ids="new", embeddings=np.ones((1, 8)))
        papers.delete(ids="new")
        assert client.get_collection("counts_of-sheep").count() == 3


def _names(path: Path) -> set[str]:
    return {found.name for found in path.iterdir() if found.name.startswith("postgres")}


@pytest.mark.heavy
def test_a_directory_is_upgraded_and_the_old_data_kept_until_it_is_removed(
    old: Old, directory: Path
) -> None:
    lines: list[str] = []
    done = upgrade_data(directory, old.binaries, announce=lines.append)
    assert done is not None
    assert done.kept == directory / f"postgres.{done.old_major}"
    assert done.databases == 2
    assert done.rows > 600
    assert lines[0].startswith("preparing PostgreSQL")
    assert _names(directory) == {"postgres", done.kept.name, "postgres.log"}
    if not old.is_real:
        return
    _check(directory)
    with pgchroma.embedded.EmbeddedPostgres.open(directory) as server:
        with psycopg.connect(make_conninfo(server.conninfo, dbname="it's")) as plain:
            assert plain.execute('select sum(x), max(y) from "a table"').fetchone() == (
                4950,
                "é" * 99,
            )
            roles = plain.execute(
                "select rolconfig, rolcanlogin from pg_roles where rolname = 'analyst'"
            )
            assert roles.fetchall() == [(["work_mem=5MB"], True)]
            member = plain.execute("select pg_has_role('analyst', 'pgchroma:app:acme', 'set')")
            assert member.fetchone() == (True,)
            names = plain.execute("select datname from pg_database where not datistemplate")
            assert {name for (name,) in names} == {"pgchroma", "it's"}
        with psycopg.connect(server.conninfo) as plain:
            prepare(plain, "validate")
            indexes = plain.execute(
                "select count(*) from pg_indexes where indexdef like '%hnsw%'"
            ).fetchone()
            assert indexes == (1,)
    assert upgrade_data(directory, None) is None
    assert remove_old_data(directory) == [done.kept]
    assert remove_old_data(directory) == []
    _check(directory)


POINTS = {
    "before-copy": ("pgchroma.embedded.upgrade.copy_cluster", 0),
    "roles": ("pgchroma.embedded.transferring._copy_roles", 0),
    "dumping": ("pgchroma.embedded.transferring._run", 2),
    "restoring": ("pgchroma.embedded.transferring._run", 3),
    "comparing": ("pgchroma.embedded.upgrade.read_contents", 1),
    "noting": ("pathlib.Path.rename", 1),
    "switch-noted": ("pathlib.Path.rename", 2),
    "switch-half": ("pathlib.Path.rename", 3),
    "switch-done": ("pathlib.Path.unlink", -1),
}
"""Where a run is killed: a function, and at which of its calls."""

KILLED = """
    import importlib, os, signal, sys
    from pathlib import Path
    from pgchroma.embedded import host, upgrade, transferring
    from pgchroma.embedded.directory import SWITCH_NOTE

    if {next!r}:
        own, major_version = host.binaries(), host.major_version
        host.major_version = lambda bin: {next!r} if bin == own else major_version(bin)
    place, _, name = {target!r}.rpartition(".")
    owner = importlib.import_module(place) if place != "pathlib.Path" else Path
    function, calls = getattr(owner, name), []

    def dying(*given, **more):
        calls.append(given)
        is_note = {number} == -1 and given[0].name == SWITCH_NOTE
        if is_note or len(calls) == {number} + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **more)

    setattr(owner, name, dying)
    upgrade.upgrade_data(Path({directory!r}), Path({binaries!r}))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_was_killed_is_repeated_or_completed(
    point: str, old: Old, directory: Path
) -> None:
    target, number = POINTS[point]
    following = "" if old.is_real else host.major_version(host.binaries())
    code = KILLED.format(
        next=following, target=target, number=number, directory=str(directory),
        binaries=str(old.binaries),
    )  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    is_switching = point.startswith("switch")
    assert (directory / SWITCH_NOTE).exists() is is_switching
    if is_switching:
        with pytest.raises(errors.UnavailableError, match="interrupted at its end"):
            pgchroma.PersistentClient(directory, QUIET)
    if is_switching and not old.is_real:
        # The exchange is completed, and the data still claims to be the older version's.
        with pytest.raises(errors.InvalidArgumentError, match=r"postgres\.\d+ exists"):
            upgrade_data(directory, old.binaries)
    else:
        assert (upgrade_data(directory, old.binaries) is None) is is_switching
    assert not (directory / SWITCH_NOTE).exists()
    kept = "postgres.16" if old.is_real else "postgres.18"
    assert _names(directory) == {"postgres", kept, "postgres.log"}
    if old.is_real:
        _check(directory)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["pg_dump", "pg_restore"])
def test_a_program_that_is_killed_is_named_and_the_upgrade_repeated(
    name: str, old: Old, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def start(command: Any, *given: Any, **more: Any) -> Any:
        process = popen(command, *given, **more)
        if Path(command[0]).name == name:
            process.send_signal(signal.SIGKILL)
        return process

    with monkeypatch.context() as killing:
        killing.setattr(subprocess, "Popen", start)
        with pytest.raises(errors.UnavailableError) as failed:
            upgrade_data(directory, old.binaries)
    message = str(failed.value)
    assert f"{name} failed: signal 9 (SIGKILL) ended it. The data is as it was: run" in message
    assert "\n" not in message
    _check_repeated(directory, old)


@pytest.mark.heavy
@pytest.mark.parametrize("room", [20, 48])
def test_a_disk_that_is_full_at_an_upgrade_is_named_and_the_upgrade_repeated(
    room: int, old: Old, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = sum(path.stat().st_blocks for path in directory.rglob("*")) * 512 >> 20
    with mounted(tmp_path / "mount", f"size={used + room}m") as place:
        moved = Path(shutil.copytree(directory, place / "chroma", symlinks=True))
        _own_like(directory, moved)
        with monkeypatch.context() as unchecked:
            # Another program takes the space after it was checked.
            unchecked.setattr(upgrade._Upgrade, "_check_space", lambda self: None)
            with pytest.raises(errors.UnavailableError) as failed:
                upgrade_data(moved, old.binaries)
        message = str(failed.value)
        assert f"was not upgraded, because the disk of {moved} is full: " in message
        assert "The data is as it was: free space on it, and run the command again" in message
        assert "\n" not in message
        assert _names(moved) == {"postgres", "postgres.log"}
        subprocess.run(["mount", "-o", "remount,size=700m", str(place)], check=True)
        _check_repeated(moved, old)


def _own_like(original: Path, copy: Path) -> None:
    """Give the files of a copy the owners of the original's."""
    for path in [original, *original.rglob("*")]:
        status = path.lstat()
        os.chown(copy / path.relative_to(original), status.st_uid, status.st_gid)


def _check_repeated(directory: Path, old: Old) -> None:
    """Check that nothing of a failed upgrade is left, and that the next one succeeds."""
    assert _names(directory) == {"postgres", "postgres.log"}
    done = upgrade_data(directory, old.binaries)
    assert done is not None
    assert done.rows > 600
    assert _names(directory) == {"postgres", done.kept.name, "postgres.log"}
    if old.is_real:
        _check(directory)


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the installed version, which tests leave as it was."""
    path = tmp_path_factory.mktemp("current") / "chroma"
    with pgchroma.PersistentClient(path, QUIET):
        return path


@contextmanager
def _written_by(version: str, directory: Path) -> Iterator[None]:
    """Make the data claim to be that of another version."""
    file = directory / "postgres" / "PG_VERSION"
    own = file.read_text()
    file.write_text(f"{version}\n")
    try:
        yield
    finally:
        file.write_text(own)


@pytest.mark.heavy
def test_a_client_of_another_version_names_the_command(current: Path) -> None:
    older = pytest.raises(errors.VersionMismatchError)
    with _written_by("17", current), older as refused:
        pgchroma.PersistentClient(current, QUIET)
    message = str(refused.value)
    assert "was written by PostgreSQL 17" in message
    assert f"run `pgchroma upgrade-data --path {current} --old-binaries ENVIRONMENT`" in message
    newer = pytest.raises(errors.VersionMismatchError, match=r"run `pip install .*==99\.\*'`$")
    with _written_by("99", current), newer:
        pgchroma.PersistentClient(current, QUIET)


def test_what_stands_in_the_way_is_said(
    current: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert upgrade_data(current, None) is None
    _claim_next(monkeypatch)
    with pytest.raises(errors.InvalidArgumentError, match=r"--old-binaries is missing.*18"):
        upgrade_data(current, None)
    with pytest.raises(errors.InvalidArgumentError, match="no programs of PostgreSQL in"):
        upgrade_data(current, tmp_path / "none")
    with pytest.raises(errors.InvalidArgumentError, match=r"has PostgreSQL 19, and .* needs"):
        upgrade_data(current, host.binaries())
    with pytest.raises(errors.InvalidArgumentError, match="nothing else has it: upgrade it first"):
        remove_old_data(current)
    with pytest.raises(errors.InvalidArgumentError, match="there is no database in"):
        upgrade_data(tmp_path, copied)
    with monkeypatch.context() as full:
        full.setattr(upgrade, "_COPIES", 1 << 40)
        with pytest.raises(errors.UnavailableError, match=r"MiB free, .*Nothing was changed"):
            upgrade_data(current, copied)
    (current / "postgres.18").mkdir()
    with pytest.raises(errors.InvalidArgumentError, match="exists, where the data"):
        upgrade_data(current, copied)
    (current / "postgres.18").rmdir()
    users = FileLock(current / "pgchroma.lock")
    assert users.try_shared()
    with pytest.raises(errors.UnavailableError, match="is open in another process"):
        upgrade_data(current, copied)
    users.release()
    newer = pytest.raises(errors.VersionMismatchError, match="which is newer than")
    with _written_by("99", current), newer:
        upgrade_data(current, copied)
    assert _names(current) == {"postgres", "postgres.log"}


@pytest.mark.heavy
def test_a_copy_that_differs_is_thrown_away(
    current: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _claim_next(monkeypatch)
    copy = transferring.copy_cluster

    def losing(binaries: Path, source: str, target: str, *rest: Any, **more: Any) -> None:
        copy(binaries, source, target, *rest, **more)
        with psycopg.connect(make_conninfo(target, dbname="pgchroma"), autocommit=True) as plain:
            plain.execute("delete from pgchroma.databases")

    monkeypatch.setattr(upgrade, "copy_cluster", losing)
    with pytest.raises(errors.UnavailableError, match=r"tables: pgchroma\.pgchroma\.databases has"):
        upgrade_data(current, copied)
    assert _names(current) == {"postgres", "postgres.log"}
    assert (current / "postgres" / "PG_VERSION").read_text() == "18\n"


def test_the_command(run: Run, current: Path, copied: Path, tmp_path: Path) -> None:
    done = run("upgrade-data", "--path", current)
    assert done.stdout == f"the data in {current} is that of the installed PostgreSQL\n"
    none = run("upgrade-data", "--path", current, "--remove-old")
    assert none.stdout == f"no upgrade has left data in {current}\n"
    (current / "postgres.17").mkdir()
    (current / "postgres.17" / "PG_VERSION").write_text("17\n")
    removed = run("upgrade-data", "--path", current, "--remove-old")
    assert removed.stdout == f"removed {current / 'postgres.17'}\n"
    wrong: list[tuple[Any, ...]] = [
        ("--remove-old", "--old-binaries", copied),
        ("--jobs", "0"),
        ("--old-binaries", "postgresql://app:sesame@db/app"),
    ]
    for options in wrong:
        run("upgrade-data", "--path", current, *options, exit_code=2)
    run("upgrade-data", "--path", tmp_path / "none", exit_code=2)
    refused = run("upgrade-data", "--url", "postgresql://app@127.0.0.1:1/app", exit_code=2)
    assert "pass the directory" in refused.stderr
