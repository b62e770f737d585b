"""What clients of one directory share, how they release it, and what its removal does to them."""

from __future__ import annotations

import gc
import os
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

import pgchroma
from pgchroma.api.client import SharedSystemClient
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.errors import UnavailableError

from .conftest import eventually, postmaster, rows, server_lives

pytestmark = pytest.mark.heavy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Program

_GONE = "was removed, renamed or replaced after it was opened"


def _made(path: Path, name: str) -> None:
    """Create a database with one collection."""
    with pgchroma.PersistentClient(path) as client:
        client.create_collection(name, embedding_function=None)


def _names(client: pgchroma.ClientAPI) -> list[str]:
    return [collection.name for collection in client.list_collections()]


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def few_files() -> Iterator[None]:
    """A limit of 256 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_three_hundred_clients_of_a_directory_share_its_files(used: Path) -> None:
    clients = [pgchroma.PersistentClient(used)]
    before = _open_files()
    clients += [pgchroma.PersistentClient(used) for _ in range(299)]
    assert [client.count_collections() for client in clients] == [0] * 300
    assert _open_files() - before < 20
    for client in clients:
        client.close()
    assert not server_lives(used)


@pytest.mark.usefixtures("few_files")
def test_three_hundred_handles_on_a_server_share_a_file(used: Path) -> None:
    handles = [EmbeddedPostgres.open(used)]
    before = _open_files()
    handles += [EmbeddedPostgres.open(used) for _ in range(299)]
    assert _open_files() - before < 20
    for handle in handles[:-1]:
        handle.close()
    assert rows(handles[-1], "select 1") == [(1,)]
    handles[-1].close()
    assert not server_lives(used)


def test_a_client_that_is_dropped_lets_go_of_its_server(used: Path) -> None:
    client = pgchroma.PersistentClient(used)
    collection = client.create_collection("kept", embedding_function=None)
    del client
    gc.collect()
    assert collection.count() == 0, "a collection is a use of the server"
    del collection
    gc.collect()
    assert eventually(lambda: not server_lives(used))


def test_clients_that_come_and_go_keep_the_server(used: Path) -> None:
    pgchroma.PersistentClient(used).count_collections()
    pid = postmaster(used)
    for _ in range(20):
        pgchroma.PersistentClient(used).count_collections()
    assert postmaster(used) == pid
    assert eventually(lambda: not server_lives(used))


def test_dropped_clients_do_not_keep_a_server_from_stopping(used: Path) -> None:
    kept = pgchroma.PersistentClient(used)
    for _ in range(3):
        pgchroma.PersistentClient(used)
    kept.close()
    # They are released a second later.
    assert eventually(lambda: not server_lives(used))


@pytest.mark.parametrize("how", ["removed", "emptied", "renamed", "replaced"])
def test_a_directory_that_changed_under_a_client_is_opened_as_it_is_now(
    how: str, home: Path
) -> None:
    path, other = home / "data", home / "other"
    _made(other, "theirs")
    old = pgchroma.PersistentClient(path)
    collection = old.create_collection("ours", embedding_function=None)
    if how == "emptied":
        for entry in path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    elif how == "renamed":
        path.rename(home / "moved")
    else:
        shutil.rmtree(path)
    if how == "replaced":
        shutil.copytree(other, path)
    with pytest.raises(UnavailableError, match=_GONE):
        collection.count()
    with pgchroma.PersistentClient(path) as new:
        assert _names(new) == (["theirs"] if how == "replaced" else [])
        with pytest.raises(UnavailableError, match=_GONE):
            old.list_collections()
        old.close()
        new.create_collection("new", embedding_function=None)
    if how == "renamed":
        with pgchroma.PersistentClient(home / "moved") as moved:
            assert _names(moved) == ["ours"]


async def test_an_asynchronous_client_says_that_its_directory_is_gone(used: Path) -> None:
    client = await pgchroma.connect_async(used)
    shutil.rmtree(used)
    with pytest.raises(UnavailableError, match=_GONE):
        await client.count_collections()
    async with await pgchroma.connect_async(used) as new:
        assert await new.count_collections() == 0
    await client.close()


def test_clearing_the_cache_leaves_open_clients_alone(used: Path) -> None:
    old = pgchroma.PersistentClient(used)
    collection = old.create_collection("kept", embedding_function=None)
    SharedSystemClient.clear_system_cache()
    # Other settings are fine now, since nothing is shared.
    new = pgchroma.PersistentClient(used, pgchroma.Settings(allow_reset=True))
    new.clear_system_cache()
    assert new.get_collection("kept").count() == 0
    collection.add(ids="1", embeddings=[1.0])
    assert new.get_collection("kept").count() == 1
    old.close()
    assert new.count_collections() == 1
    new.close()
    assert not server_lives(used)


def test_after_clearing_the_cache_an_ephemeral_client_begins_empty() -> None:
    with pgchroma.EphemeralClient() as old:
        old.create_collection("kept", embedding_function=None)
        with pgchroma.EphemeralClient() as same:
            assert _names(same) == ["kept"]
        old.clear_system_cache()
        with pgchroma.EphemeralClient() as new:
            assert _names(new) == []
            assert _names(old) == ["kept"]


def test_settings_that_do_not_concern_the_connection_may_differ(used: Path) -> None:
    with (
        pgchroma.PersistentClient(used) as client,
        pgchroma.PersistentClient(
            used,
            pgchroma.Settings(
                anonymized_telemetry=True,
                migrations="validate",
                pgchroma_http_timeout=1.0,
                pgchroma_trust_stored_functions=True,
            ),
        ) as other,
    ):
        there = pgchroma.Settings(is_persistent=True, persist_directory=str(used))
        pgchroma.AdminClient(there).create_database("more")
        client.create_collection("kept", embedding_function=None)
        assert _names(other) == ["kept"]


@pytest.mark.parametrize("different", [{"allow_reset": True}, {"pgchroma_pool_size": 3}])
def test_settings_that_concern_the_connection_are_named(
    different: dict[str, Any], used: Path
) -> None:
    settings = pgchroma.Settings(**different)
    with (
        pgchroma.PersistentClient(used),
        pytest.raises(ValueError, match=f"with different settings: {next(iter(different))}"),
    ):
        pgchroma.PersistentClient(used, settings)


def _remove_socket(path: Path) -> None:
    with EmbeddedPostgres.open(path) as postgres:
        shutil.rmtree(Path(str(conninfo_to_dict(postgres.conninfo)["host"])).parent)


def test_clients_of_a_process_go_on_when_the_sockets_directory_is_removed(used: Path) -> None:
    with pgchroma.PersistentClient(used) as client:
        collection = client.create_collection("kept", embedding_function=None)
        pid = postmaster(used)
        _remove_socket(used)
        with pgchroma.PersistentClient(used) as another:
            assert _names(another) == ["kept"]
        assert collection.count() == 0
        assert postmaster(used) == pid, "the open connections are shared"


def test_another_process_restarts_a_server_whose_socket_was_removed(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    with EmbeddedPostgres.open(sys.argv[1]) as postgres:
        say(sql(postgres, "select 1"))
    """
    with pgchroma.PersistentClient(used) as client:
        collection = client.create_collection("kept", embedding_function=None)
        _remove_socket(used)
        assert program(code, used).finish() == "[(1,)]"
        assert collection.count() == 0
    assert not server_lives(used)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a private /tmp")
def test_a_socket_that_only_the_servers_container_sees_is_explained(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    from pgchroma.errors import UnavailableError
    try:
        EmbeddedPostgres.open(sys.argv[1])
    except UnavailableError as error:
        say(error)
    """
    mount = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    with EmbeddedPostgres.open(used) as postgres:
        place = Path(str(conninfo_to_dict(postgres.conninfo)["host"])).parent
        prefix = ("unshare", "--mount", "sh", "-c", mount, str(place))
        said = program(code, used, prefix=prefix).finish()
        assert "in a /tmp that this process cannot see" in said
        assert rows(postgres, "select 1") == [(1,)]
