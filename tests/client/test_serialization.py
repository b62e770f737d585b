"""A transaction of the caller's above read committed, or in a deadlock, has to be run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors
from pgchroma.backends._sync import direct
from tests.server_process import eventually

LEVELS = ("REPEATABLE READ", "SERIALIZABLE")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    yield made
    made.dispose()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The operations that were begun in the caller's transaction."""
    begun: list[Any] = []
    attempt = direct.DirectBackend._attempt

    def note(self: direct.DirectBackend, operation: Any) -> Any:
        if self.in_caller_transaction:
            begun.append(operation)
        return attempt(self, operation)

    monkeypatch.setattr(direct.DirectBackend, "_attempt", note)
    return begun


# What another client does concurrently, and the call that can no longer succeed after it.
CASES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "upsert of a new record": (
        lambda _, papers: papers.add(ids="new", embeddings=[1.0]),
        lambda _, papers: papers.upsert(ids="new", embeddings=[2.0]),
    ),
    "add of a new record": (
        lambda _, papers: papers.add(ids="new", embeddings=[1.0]),
        lambda _, papers: papers.add(ids="new", embeddings=[2.0]),
    ),
    "upsert of a changed record": (
        lambda _, papers: papers.update(ids="old", embeddings=[1.0]),
        lambda _, papers: papers.upsert(ids="old", embeddings=[2.0]),
    ),
    "update": (
        lambda _, papers: papers.update(ids="old", embeddings=[1.0]),
        lambda _, papers: papers.update(ids="old", metadatas={"k": 1}),
    ),
    "delete": (
        lambda _, papers: papers.upsert(ids="old", embeddings=[1.0]),
        lambda _, papers: papers.delete(ids="old"),
    ),
    "delete where": (
        lambda _, papers: papers.delete(ids="old"),
        lambda _, papers: papers.delete(where={"k": {"$ne": 7}}),
    ),
    "create_collection": (
        lambda client, _: client.create_collection("drafts"),
        lambda client, _: client.create_collection("drafts"),
    ),
    "get_or_create_collection": (
        lambda client, _: client.create_collection("drafts"),
        lambda client, _: client.get_or_create_collection("drafts"),
    ),
    "modify": (
        lambda _, papers: papers.modify(name="articles"),
        lambda _, papers: papers.modify(name="essays"),
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", list(CASES))
def test_it_is_told_at_once(
    engine: Engine, client: Any, attempts: list[Any], level: str, case: str
) -> None:
    meanwhile, attempt = CASES[case]
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids="old", embeddings=[0.0])
    with engine.connect().execution_options(isolation_level=level) as connection:
        joined = pgchroma.PostgresClient(connection)
        inside = joined.get_collection("papers", embedding_function=None)
        assert inside.count() == 1
        meanwhile(client, papers)
        attempts.clear()
        with pytest.raises(errors.SerializationError, match="run it again") as raised:
            attempt(joined, inside)
        assert len(attempts) == 1
        assert raised.value.sqlstate == "40001"
        assert isinstance(raised.value.__cause__, psycopg.Error)
        # Only its owner ends the transaction: it still sees the same rows as before.
        assert joined.count_collections() == 1
        connection.rollback()
        # A new transaction sees that the name is taken.
        taken = errors.UniqueConstraintError
        with pytest.raises(taken) if case == "create_collection" else nullcontext():
            attempt(joined, inside)
        connection.commit()


@pytest.mark.parametrize("level", LEVELS)
def test_tables_that_went_away_since_the_transaction_began_are_not_looked_for(
    engine: Engine, client: Any, attempts: list[Any], level: str
) -> None:
    client.create_collection("papers", embedding_function=None).add(ids="1", embeddings=[1.0])
    with engine.connect().execution_options(isolation_level=level) as connection:
        joined = pgchroma.PostgresClient(connection)
        inside = joined.get_collection("papers", embedding_function=None)
        client.delete_collection("papers")
        attempts.clear()
        with pytest.raises(errors.SerializationError, match="does not exist"):
            inside.get()
        assert len(attempts) == 1
        connection.rollback()
        with pytest.raises(errors.NotFoundError):
            inside.get()


@pytest.mark.parametrize("level", LEVELS)
async def test_an_asynchronous_client_tells_it_at_once(url: str, client: Any, level: str) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids="old", embeddings=[0.0])

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(url)

    engine = create_async_engine("postgresql+psycopg://", async_creator=connect)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level=level)
        joined = await pgchroma.AsyncPostgresClient(connection)
        inside = await joined.get_collection("papers", embedding_function=None)
        papers.add(ids="new", embeddings=[1.0])
        for write in (inside.upsert, inside.add):
            with pytest.raises(errors.SerializationError) as raised:
                await write(ids=["new"], embeddings=[[2.0]])
            assert raised.value.sqlstate == "40001"
        assert await inside.count() == 1
        await connection.rollback()
        await inside.upsert(ids=["new"], embeddings=[[2.0]])
        await connection.commit()
    await engine.dispose()
    assert papers.get(include=["embeddings"])["embeddings"].tolist() == [[0.0], [2.0]]


def test_a_failure_that_only_serializable_meets_is_told(engine: Engine, client: Any) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids=["a", "b"], embeddings=[[0.0], [0.0]], metadatas=[{"on": 1}, {"on": 1}])

    def open_one() -> tuple[Connection, Any]:
        connection = engine.connect().execution_options(isolation_level="SERIALIZABLE")
        inside = pgchroma.PostgresClient(connection).get_collection("papers")
        assert len(inside.get(where={"on": 1})["ids"]) == 2
        return connection, inside

    (first, one), (second, other) = open_one(), open_one()
    one.update(ids="a", metadatas={"on": 0})
    first.commit()
    with pytest.raises(errors.SerializationError):
        other.update(ids="b", metadatas={"on": 0})
        other.get(where={"on": 1})
        other.update(ids="a", metadatas={"on": 0})
    second.rollback()
    first.close()
    second.close()


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_of_two_in_a_deadlock_one_is_told(
    engine: Engine, client: Any, url: str, attempts: list[Any], kind: str
) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids=["a", "b"], embeddings=[[0.0], [0.0]])
    made: list[Any] = [
        engine.connect() if kind == "connection" else Session(engine) for _ in range(2)
    ]
    inside = [pgchroma.PostgresClient(owner).get_collection("papers") for owner in made]
    for collection, id in zip(inside, "ab", strict=True):
        collection.update(ids=id, embeddings=[1.0])

    def waits() -> bool:
        with psycopg.connect(url) as plain:
            row = plain.execute(
                "select count(*) from pg_stat_activity where datname = current_database() "
                "and cardinality(pg_blocking_pids(pid)) > 0"
            ).fetchone()
        return row != (0,)

    def end(number: int) -> errors.SerializationError | None:
        try:
            inside[number].upsert(ids="ba"[number], embeddings=[2.0])
        except errors.SerializationError as error:
            made[number].rollback()
            return error
        made[number].commit()
        return None

    attempts.clear()
    with ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(end, 0)]
        eventually(waits)
        ends.append(threads.submit(end, 1))
        told = [error for ended in ends if (error := ended.result(60))]
    for owner in made:
        owner.close()
    assert [error.sqlstate for error in told] == ["40P01"]
    assert len(attempts) == 2
    assert papers.count() == 2


def test_at_read_committed_what_passes_is_tried_again(engine: Engine, client: Any) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids="old", embeddings=[0.0])
    with engine.connect() as connection:
        inside = pgchroma.PostgresClient(connection).get_collection("papers")
        papers.add(ids="new", embeddings=[1.0])
        papers.update(ids="old", embeddings=[1.0])
        inside.upsert(ids=["old", "new"], embeddings=[[2.0], [2.0]])
        connection.execute(text("select 1"))
        connection.commit()
    assert papers.get(include=["embeddings"])["embeddings"].tolist() == [[2.0], [2.0]]
