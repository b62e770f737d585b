"""A collection's first embeddings: they are stored with its dimension, or neither is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine

import pgchroma
from pgchroma import errors

Write = Callable[[Any], Any]

WRITES: dict[str, Write] = {
    "add": lambda papers: papers.add(ids=["a", "b"], embeddings=[[1.0, 2.0, 3.0]] * 2),
    "upsert": lambda papers: papers.upsert(ids=["a", "b"], embeddings=[[1.0, 2.0, 3.0]] * 2),
}
SCHEMA = "default_tenant__default_database"


@pytest.fixture
def impatient(url: str) -> str:
    """A connection string whose sessions do not wait long for a lock."""
    return make_conninfo(url, options="-c lock_timeout=200")


def _expect_untouched(url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        papers = client.get_collection("papers")
        assert papers.get()["ids"] == []
        # No length was fixed: another one is as good.
        papers.add(ids="x", embeddings=[[1.0, 2.0]])
        assert papers.query(query_embeddings=[[1.0, 2.0]])["ids"] == [["x"]]


@pytest.mark.parametrize("write", ["add", "upsert"])
def test_a_first_write_that_times_out_fixes_no_dimension(
    write: str, url: str, impatient: str
) -> None:
    with pgchroma.PostgresClient(impatient) as client, psycopg.connect(url) as other:
        papers = client.create_collection("papers")
        other.execute(f"lock table {SCHEMA}.records_{papers.id.hex} in exclusive mode")
        with pytest.raises(errors.DeadlineExceededError, match="nothing was changed"):
            WRITES[write](papers)
        other.rollback()
        assert papers.query(query_embeddings=[[1.0] * 5])["ids"] == [[]]
    _expect_untouched(url)


async def test_the_same_holds_for_the_asynchronous_client(url: str, impatient: str) -> None:
    async with await pgchroma.AsyncPostgresClient(impatient) as client:
        papers = await client.create_collection("papers")
        with psycopg.connect(url) as other:
            other.execute(f"lock table {SCHEMA}.records_{papers.id.hex} in exclusive mode")
            with pytest.raises(errors.DeadlineExceededError, match="nothing was changed"):
                await WRITES["upsert"](papers)
    _expect_untouched(url)


def test_a_first_write_that_postgres_refuses_fixes_no_dimension(
    client: pgchroma.ClientAPI, url: str, connection: psycopg.Connection[Any]
) -> None:
    papers = client.create_collection("papers")
    records = f"{SCHEMA}.records_{papers.id.hex}"
    connection.execute(f"alter table {records} add constraint mine check (id <> 'b')")
    with pytest.raises(errors.ChromaError):
        WRITES["add"](papers)
    _expect_untouched(url)


def test_a_first_write_rolled_back_by_the_caller_fixes_no_dimension(
    client: pgchroma.ClientAPI, url: str
) -> None:
    client.create_collection("papers")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        inside = pgchroma.PostgresClient(connection).get_collection("papers")
        WRITES["add"](inside)
        assert inside.count() == 2
        connection.rollback()
    engine.dispose()
    _expect_untouched(url)
