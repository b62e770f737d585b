"""The user that PostgreSQL runs as: a dedicated one for root; and users without a name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgchroma.embedded import EmbeddedPostgres, accounts, initdb

from .conftest import eventually, postmaster, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Program

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user"),
]

ANONYMOUS = 65534
UNNAMED = 54321
_INTRUDE = """
import psycopg
try:
    with psycopg.connect(sys.argv[1], connect_timeout=5) as connection:
        say(connection.execute("select current_user").fetchone())
except psycopg.Error as error:
    say("refused")
for place in (sys.argv[2], sys.argv[2] + "/pg_hba.conf"):
    try:
        os.stat(place) and open(place).close()
        say("readable")
    except OSError:
        say("closed")
try:
    os.kill(int(sys.argv[3]), 0)
    say("can be signalled")
except PermissionError:
    say("out of reach")
"""
_USE = """
with EmbeddedPostgres.open(sys.argv[1]) as postgres:
    say(sql(postgres, "select current_user::text"))
"""


def _as(uid: int, gid: int | None = None) -> tuple[str, ...]:
    gid = uid if gid is None else gid
    return ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory of root's that everyone may pass."""
    place = Path(tempfile.mkdtemp(prefix="pgchroma-test-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def _uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_no_process_of_nobody_gets_at_a_server_of_roots(
    open_place: Path, program: Callable[..., Program]
) -> None:
    with EmbeddedPostgres.open(open_place / "data") as postgres:
        pid, data = postmaster(open_place / "data"), open_place / "data" / "postgres"
        assert _uid(pid) in accounts.OWN_UIDS
        arguments = (postgres.conninfo, str(data), str(pid))
        said = program(_INTRUDE, *arguments, prefix=_as(ANONYMOUS)).finish().splitlines()
    assert said == ["refused", "closed", "closed", "out of reach"]


def test_no_process_of_nobody_gets_at_a_throw_away_server_of_roots(
    program: Callable[..., Program],
) -> None:
    with EmbeddedPostgres.open_ephemeral() as postgres:
        pid = postmaster(postgres.directory)
        arguments = (postgres.conninfo, str(postgres.directory / "postgres"), str(pid))
        said = program(_INTRUDE, *arguments, prefix=_as(ANONYMOUS)).finish().splitlines()
    assert said == ["refused", "closed", "closed", "out of reach"]


def test_data_of_nobodys_in_roots_directory_gets_a_user_of_its_own(
    open_place: Path, program: Callable[..., Program]
) -> None:
    with EmbeddedPostgres.open(open_place) as postgres:
        rows(postgres, "create table t as select 42 as answer")
    data = open_place / "postgres"
    subprocess.run(["chown", "-R", f"{ANONYMOUS}:{ANONYMOUS}", str(data)], check=True)
    with EmbeddedPostgres.open(open_place) as postgres:
        assert rows(postgres, "select answer from t") == [(42,)]
        assert _uid(postmaster(open_place)) == data.stat().st_uid in accounts.OWN_UIDS
        arguments = (postgres.conninfo, str(data), str(postmaster(open_place)))
        said = program(_INTRUDE, *arguments, prefix=_as(ANONYMOUS)).finish().splitlines()
    assert said == ["refused", "closed", "closed", "out of reach"]


def test_a_server_keeps_its_user(open_place: Path) -> None:
    uids = set()
    for _ in range(2):
        with EmbeddedPostgres.open(open_place):
            uids.add(_uid(postmaster(open_place)))
    assert len(uids) == 1


def test_a_directory_of_an_ordinary_users_is_served_as_that_user(open_place: Path) -> None:
    os.chown(open_place, ANONYMOUS, ANONYMOUS)
    with EmbeddedPostgres.open(open_place):
        assert _uid(postmaster(open_place)) == ANONYMOUS


def test_initdb_runs_where_no_other_process_of_its_user_gets_in(
    open_place: Path, program: Callable[..., Program]
) -> None:
    code = "say('go')\nEmbeddedPostgres.open(sys.argv[1]).close()"
    other = program(code, open_place)
    assert other.heard() == "go"
    part = open_place / "postgres.part"
    assert eventually(part.is_dir)
    assert (part.stat().st_uid, part.stat().st_mode & 0o077) == (0, 0)
    other.finish()
    assert not part.exists()


@pytest.mark.parametrize("gid", [UNNAMED, 0])
@pytest.mark.parametrize("with_library", [True, False], ids=["nss_wrapper", "namespace"])
def test_a_user_without_a_name_gets_a_database(
    with_library: bool, gid: int, open_place: Path, program: Callable[..., Program]
) -> None:
    if with_library and initdb._nss_wrapper() is None:
        pytest.skip("libnss_wrapper is not installed: apt-get install libnss-wrapper")
    if not with_library and not _has_namespaces():
        pytest.skip("the kernel allows ordinary users no namespaces")
    os.chown(open_place, UNNAMED, gid)
    # The tests' own interpreter may be in a directory of root's.
    without = (
        "from pgchroma.embedded import initdb\ninitdb._nss_wrapper = lambda: None\n"
        "initdb.sys.executable = '/usr/bin/python3'\n"
    )
    code = ("" if with_library else without) + _USE.strip()
    for _ in range(2):
        said = program(code, open_place / "data", prefix=_as(UNNAMED, gid)).finish()
        assert said == "[('pgchroma',)]"
    assert (open_place / "data" / "postgres").stat().st_uid == UNNAMED
    assert not (open_place / "data" / "postgres.part").exists()


def test_a_user_without_a_name_is_told_in_one_line_what_to_do_where_nothing_helps(
    open_place: Path, program: Callable[..., Program]
) -> None:
    os.chown(open_place, UNNAMED, UNNAMED)
    code = """
    from pgchroma.embedded import initdb
    from pgchroma.errors import UnavailableError
    initdb._nss_wrapper = lambda: None
    initdb.sys.executable = "/bin/false"
    try:
        EmbeddedPostgres.open(sys.argv[1])
    except UnavailableError as error:
        say(error)
    """
    said = program(code, open_place / "data", prefix=_as(UNNAMED)).finish()
    assert f"install libnss-wrapper, or add `pgchroma:x:{UNNAMED}:{UNNAMED}" in said
    assert len(said.splitlines()) <= 2


def _has_namespaces() -> bool:
    command = [
        *_as(UNNAMED),
        "unshare",
        "--user",
        "--map-user=65534",
        "/usr/bin/python3",
        "--version",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
