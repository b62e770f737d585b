"""A client on the application's own engine, connection or session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with made.begin() as connection:
        connection.execute(text("create table orders (id int)"))
    yield made
    made.dispose()


def _orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("select count(*) from orders")).scalar_one())


def test_an_engine_serves_a_client(engine: Engine) -> None:
    with pgchroma.PostgresClient(engine) as client:
        papers = client.create_collection("papers")
        papers.add(ids="1", embeddings=[1.0], documents="d", metadatas={"k": 1})
        papers.upsert(ids="1", embeddings=[2.0])
        assert papers.query(query_embeddings=[2.0])["distances"] == [[0.0]]
        assert papers.get(where_document={"$regex": "d"})["ids"] == ["1"]
    with pgchroma.PostgresClient(engine) as other:
        assert other.get_collection("papers").count() == 1


@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_vectors_and_rows_are_committed_or_rolled_back_together(
    engine: Engine, url: str, kind: str, ending: str
) -> None:
    with pgchroma.PostgresClient(url) as outside:
        papers = outside.create_collection("papers")
        papers.add(ids="old", embeddings=[1.0, 1.0])
        made: Any = engine.connect() if kind == "connection" else Session(engine)
        with made as owner:
            client = pgchroma.PostgresClient(owner)
            owner.execute(text("insert into orders values (1)"))
            inside = client.get_collection("papers")
            inside.add(ids="new", embeddings=[2.0, 2.0])
            inside.delete(ids="old")
            client.create_collection("drafts").add(ids="1", embeddings=[1.0])
            assert inside.get()["ids"] == ["new"]
            assert papers.get()["ids"] == ["old"]
            getattr(owner, ending)()
        committed = ending == "commit"
        assert _orders(engine) == int(committed)
        assert papers.get()["ids"] == (["new"] if committed else ["old"])
        names = [collection.name for collection in outside.list_collections()]
        assert names == (["drafts", "papers"] if committed else ["papers"])


def test_records_of_the_same_transaction_are_merged_with(engine: Engine, url: str) -> None:
    with engine.connect() as connection:
        client = pgchroma.PostgresClient(connection)
        papers = client.create_collection("papers")
        papers.add(ids=["a", "b"], embeddings=[[1.0], [2.0]], metadatas=[{"k": 1}, {"k": 2}])
        papers.upsert(
            ids=["c", "b", "a"],
            embeddings=[[5.0], [4.0], [3.0]],
            metadatas=[{"l": 3}, {"l": 4}, {"l": 5}],
        )
        papers.upsert(ids=["c", "a"], embeddings=[[6.0], [7.0]], documents=["c", "a"])
        papers.delete(ids=["b"])
        found = papers.get(include=["embeddings", "metadatas", "documents"])
        assert found["ids"] == ["a", "c"]
        assert found["embeddings"] is not None
        assert found["embeddings"].tolist() == [[7.0], [6.0]]
        assert found["metadatas"] == [{"k": 1, "l": 5}, {"l": 3}]
        assert found["documents"] == ["a", "c"]
        assert papers.count() == 2
        connection.commit()
    with psycopg.connect(url) as plain:
        kept = plain.execute(
            f"select count(*) from default_tenant__default_database.vectors_{papers.id.hex}"
        ).fetchone()
    assert kept == (2,)


def test_a_fault_of_ours_leaves_the_transaction_usable(engine: Engine) -> None:
    with engine.connect() as connection:
        client = pgchroma.PostgresClient(connection)
        client.create_collection("papers")
        connection.execute(text("insert into orders values (1)"))
        with pytest.raises(errors.UniqueConstraintError):
            client.create_collection("papers")
        with pytest.raises(errors.NotFoundError):
            client.get_collection("nope")
        connection.execute(text("insert into orders values (2)"))
        connection.commit()
    assert _orders(engine) == 2


def test_the_time_limits_of_the_transaction_are_the_callers(engine: Engine) -> None:
    with engine.connect() as connection:
        client = pgchroma.PostgresClient(connection)
        collection = client.create_collection("papers")
        collection.add(ids="1", embeddings=[1.0], documents="a red fox")
        connection.execute(text("set local statement_timeout = '1s'"))
        assert collection.get(where_document={"$regex": "f.x"})["ids"] == ["1"]
        limit = connection.execute(text("show statement_timeout")).scalar_one()
        assert limit == "1s"


def test_what_sqlalchemy_cannot_lend_is_told_as_an_error_of_ours(engine: Engine, url: str) -> None:
    connection = engine.connect()
    client = pgchroma.PostgresClient(connection)
    connection.close()
    with pytest.raises(errors.InvalidArgumentError, match="cannot be used"):
        client.heartbeat()
    small = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url),
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.1,
    )
    with (
        pgchroma.PostgresClient(small) as starved,
        small.connect(),
        pytest.raises(errors.UnavailableError, match="no connection left"),
    ):
        starved.heartbeat()
    small.dispose()
    nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(errors.UnavailableError, match="cannot be reached"):
        pgchroma.PostgresClient(nowhere)


def test_what_a_rolled_back_transaction_fixed_is_not_remembered(
    engine: Engine, client: pgchroma.ClientAPI
) -> None:
    collection = client.create_collection("papers")
    with engine.connect() as connection:
        joined = pgchroma.PostgresClient(connection).get_collection("papers")
        joined.add(ids="a", embeddings=[1.0, 2.0, 3.0])
        connection.rollback()
        collection.add(ids="b", embeddings=[1.0, 2.0, 3.0, 4.0])
        embeddings = joined.get(include=["embeddings"])["embeddings"]
        assert embeddings is not None
        assert embeddings.shape == (1, 4)
        with pytest.raises(errors.InvalidArgumentError, match="dimension of 4, got 3"):
            joined.query(query_embeddings=[1.0, 2.0, 3.0])


def test_a_client_goes_on_after_a_rollback_took_its_tables_away(engine: Engine) -> None:
    with engine.connect() as connection:
        client = pgchroma.PostgresClient(connection)
        papers = client.create_collection("papers")
        connection.commit()
        papers.add(ids="1", embeddings=[1.0, 2.0])
        connection.rollback()
        assert papers.count() == 0
        papers.add(ids="2", embeddings=[1.0, 2.0, 3.0])
        connection.commit()
        assert papers.get()["ids"] == ["2"]


def test_a_connection_with_rows_as_dictionaries_serves_too(url: str) -> None:
    def connect() -> Any:
        return psycopg.connect(url, row_factory=psycopg.rows.tuple_row)

    engine = create_engine("postgresql+psycopg://", creator=connect)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.row_factory = psycopg.rows.dict_row
        client = pgchroma.PostgresClient(connection)
        client.create_collection("papers").add(ids="1", embeddings=[1.0])
        assert client.get_collection("papers").count() == 1
        driver.row_factory = psycopg.rows.tuple_row
    engine.dispose()


def test_an_engine_of_another_driver_is_refused() -> None:
    class Foreign:
        pass

    with pytest.raises(errors.InvalidArgumentError, match="expected a URL, or a SQLAlchemy"):
        pgchroma.PostgresClient(Foreign())  # type: ignore[arg-type]
    engine = create_engine("sqlite://")
    with pytest.raises(errors.InvalidArgumentError, match=r"postgresql\+psycopg://"):
        pgchroma.PostgresClient(engine)
    engine.dispose()


@pytest.fixture
async def async_engine(url: str) -> AsyncIterator[AsyncEngine]:
    async def connect() -> Any:
        return await psycopg.AsyncConnection.connect(url)

    made = create_async_engine("postgresql+psycopg://", async_creator=connect)
    async with made.begin() as connection:
        await connection.execute(text("create table orders (id int)"))
    yield made
    await made.dispose()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("kind", ["connection", "session"])
async def test_an_asynchronous_client_joins_too(
    async_engine: AsyncEngine, url: str, kind: str, ending: str
) -> None:
    async with await pgchroma.AsyncPostgresClient(async_engine) as outside:
        papers = await outside.create_collection("papers")
        await papers.add(ids="old", embeddings=[1.0, 1.0])
        made: Any = async_engine.connect() if kind == "connection" else AsyncSession(async_engine)
        async with made as owner:
            client = await pgchroma.AsyncPostgresClient(owner)
            inside = await client.get_collection("papers")
            await inside.add(ids="new", embeddings=[2.0, 2.0])
            await owner.execute(text("insert into orders values (1)"))
            assert (await papers.get())["ids"] == ["old"]
            await getattr(owner, ending)()
        expected = ["old", "new"] if ending == "commit" else ["old"]
        assert (await papers.get())["ids"] == expected
