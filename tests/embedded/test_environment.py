"""libpq's environment variables are another database's, and have no effect on the embedded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.pq import Conninfo

import pgchroma
from pgchroma.embedded import EmbeddedPostgres

from .conftest import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HARMFUL = {
    "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=app -c statement_timeout=1",
    "PGCLIENTENCODING": "LATIN1",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "system",
    "PGGSSENCMODE": "require",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1,2",
}
_VARIABLES = sorted(o.envvar.decode() for o in Conninfo.get_defaults() if o.envvar)


def _set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _VARIABLES:
        monkeypatch.setenv(variable, _HARMFUL.get(variable, "nonsense"))


async def _use(conninfo: str) -> None:
    # All of them, also those that a mistake in the order of values would hide from the test above.
    assert rows(conninfo, "select current_user::text") == [("pgchroma",)]
    assert rows(conninfo, "show default_transaction_read_only") == [("off",)]
    assert rows(conninfo, "show statement_timeout") == [("0",)]
    assert rows(conninfo, "show client_encoding") == [("UTF8",)]
    connection = await psycopg.AsyncConnection.connect(conninfo)
    await connection.close()


@pytest.mark.parametrize("variable", _VARIABLES)
def test_no_variable_of_libpq_reaches_the_embedded_server(
    variable: str, shared: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, _HARMFUL.get(variable, "nonsense"))
    with pgchroma.PersistentClient(shared.directory) as client:
        collection = client.get_or_create_collection("kept", embedding_function=None)
        collection.upsert(ids="1", embeddings=[1.0], documents=["é😀"])
        assert collection.get()["documents"] == ["é😀"]


async def test_all_variables_at_once_do_not_disturb_a_new_database(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(monkeypatch)
    with pgchroma.PersistentClient(home) as client, EmbeddedPostgres.open(home) as postgres:
        client.create_collection("kept", embedding_function=None).add(ids="1", embeddings=[1.0])
        await _use(postgres.conninfo)
    async with await pgchroma.connect_async(home) as client:
        assert await (await client.get_collection("kept")).count() == 1
    assert "no file defines the service nonsense" in capsys.readouterr().err


async def test_variables_set_after_opening_do_not_reach_later_connections(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres.open(used) as postgres:
        for variable in ("PGOPTIONS", "PGCLIENTENCODING", "PGTARGETSESSIONATTRS", "PGHOSTADDR"):
            monkeypatch.setenv(variable, _HARMFUL[variable])
        await _use(postgres.conninfo)


def test_a_service_that_is_defined_stays_and_adds_nothing(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = used / "service.conf"
    file.write_text("[app]\nhost=example.invalid\noptions=-c search_path=app\nuser=app\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", "app")
    with EmbeddedPostgres.open(used) as postgres:
        assert rows(postgres, "show search_path") == [('"$user", public',)]
        assert rows(postgres, "select current_user::text") == [("pgchroma",)]


@pytest.mark.parametrize(
    ("variable", "value"), [("PGTZ", "Asia/Tokyo"), ("PGDATESTYLE", "German"), ("PGGEQO", "off")]
)
def test_variables_of_the_session_do_not_disturb(
    variable: str, value: str, shared: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pgchroma.PersistentClient(shared.directory) as client:
        collection = client.get_or_create_collection("kept", embedding_function=None)
        collection.upsert(ids="1", embeddings=[1.0])
        assert collection.count() == 1
        assert client.heartbeat() > 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that stays for all of the module's tests."""
    with EmbeddedPostgres.open(tmp_path_factory.mktemp("shared"), durable=False) as postgres:
        with pgchroma.PersistentClient(postgres.directory) as client:
            client.heartbeat()
        yield postgres
