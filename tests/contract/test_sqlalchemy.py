"""A collection's view as a table of SQLAlchemy, in every mode, on engines of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.ext.asyncio import create_async_engine

import pgchroma
from pgchroma import errors
from tests.postgres import Postgres

VECTORS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
PAGES: list[dict[str, Any]] = [
    {"page": 1, "score": 0.5, "is draft": True, "title": "one", "other": [1]},
    {"page": 2, "score": 2, "is draft": False, "title": "two"},
    {"page": "three"},
]


@pytest.fixture
async def papers(mode: Any) -> Any:
    schema = pgchroma.Schema()
    for key, config in (
        ("page", pgchroma.IntInvertedIndexConfig()),
        ("score", pgchroma.FloatInvertedIndexConfig()),
        ("is draft", pgchroma.BoolInvertedIndexConfig()),
        ("title", pgchroma.StringInvertedIndexConfig()),
    ):
        schema.create_index(config=config, key=key)
    collection = await mode.create_collection("papers", schema=schema, embedding_function=None)
    await collection.add(
        ids=["a", "b", "c"], embeddings=VECTORS, metadatas=PAGES, documents=["x", "y", "z"]
    )
    return collection


@pytest.fixture
def connected(server: Postgres, mode: Any) -> Callable[[], psycopg.Connection[Any]]:
    """Opens connections to the mode's database, with pgvector on their search path."""
    name = conninfo_to_dict(mode.conninfo)["dbname"]
    conninfo = make_conninfo(server.conninfo, dbname=name)
    with psycopg.connect(conninfo) as connection:
        ((schema,),) = connection.execute(_PGVECTORS_SCHEMA).fetchall()
    return lambda: psycopg.connect(conninfo, options=f"-c search_path={schema}")


_PGVECTORS_SCHEMA = """
select n.nspname from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace
where e.extname = 'vector'
"""


@pytest.fixture
def engine(connected: Callable[[], psycopg.Connection[Any]]) -> Iterator[sa.Engine]:
    made = sa.create_engine("postgresql+psycopg://", creator=connected)
    yield made
    made.dispose()


async def test_columns_have_their_types(papers: Any, engine: sa.Engine) -> None:
    table = await papers.sqlalchemy_table()
    assert [column.name for column in table.c] == [
        *("id", "document", "uri", "metadata", "embedding", "created_at", "updated_at"),
        *("is draft", "page", "score", "title"),
    ]
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.id)).mappings().all()
    assert [row["metadata"] for row in rows] == PAGES
    assert [row["page"] for row in rows] == [1, 2, None]
    assert [row["score"] for row in rows] == [0.5, 2.0, None]
    assert [row["is draft"] for row in rows] == [True, False, None]
    assert [row["title"] for row in rows] == ["one", "two", None]
    assert [np.asarray(row["embedding"]).tolist() for row in rows] == VECTORS
    assert all(row["created_at"].tzinfo is not None for row in rows)


async def test_distances_are_the_collections(
    papers: Any, connected: Callable[[], psycopg.Connection[Any]]
) -> None:
    table = await papers.sqlalchemy_table()
    query = [0.5, 1.0, 0.25]
    distance = table.c.embedding.l2_distance(query)
    statement = (
        sa.select(table.c.id, (distance * distance).label("distance"))
        .where(table.c.page.is_not(None))
        .order_by(distance)
    )
    with connected() as connection:
        dsn = connection.info.dsn
        options = connection.info.options
    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=lambda: psycopg.AsyncConnection.connect(dsn, options=options),
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).all()
    await engine.dispose()
    found = await papers.query(query_embeddings=query, where={"page": {"$gt": 0}})
    assert [row.id for row in rows] == found["ids"][0]
    assert [row.distance for row in rows] == pytest.approx(found["distances"][0])


async def test_tables_of_one_metadata_join(mode: Any, papers: Any, engine: sa.Engine) -> None:
    other = await mode.create_collection("A.long-name." + "x" * 90, embedding_function=None)
    await other.add(ids=["a"], embeddings=[[9.0]])
    metadata = sa.MetaData()
    first, second = await papers.sqlalchemy_table(metadata), await other.sqlalchemy_table(metadata)
    assert len(metadata.tables) == 2
    assert (await papers.sqlalchemy_table(metadata)).key == first.key
    statement = sa.select(first.c.document, second.c.embedding).join(
        second, first.c.id == second.c.id
    )
    with engine.connect() as connection:
        ((document, embedding),) = connection.execute(statement).all()
    assert (document, list(embedding)) == ("x", [9.0])


async def test_a_collection_without_embeddings_has_a_table(mode: Any, engine: sa.Engine) -> None:
    collection = await mode.create_collection("empty", embedding_function=None)
    table = await collection.sqlalchemy_table()
    with engine.connect() as connection:
        assert connection.execute(sa.select(table)).all() == []
    assert table.c.embedding.type.dim is None
    await mode.delete_collection("empty")
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        await collection.sqlalchemy_table()


async def test_psycopg_reads_embeddings_with_pgvectors_adapters(
    papers: Any, connected: Callable[[], psycopg.Connection[Any]]
) -> None:
    table = await papers.sqlalchemy_table()
    with connected() as connection:
        register_vector(connection)
        text = sql.SQL("select embedding from {} order by id").format(
            sql.Identifier(table.schema or "", table.name)
        )
        rows = connection.execute(text).fetchall()
    # The package's own type since 0.5, and an array before.
    values = [getattr(found, "to_numpy", lambda found=found: found)() for (found,) in rows]
    assert np.array(values).tolist() == VECTORS
