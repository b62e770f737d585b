"""Concurrent calls on one connection or session of the caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors

COUNT = 20


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with made.begin() as connection:
        connection.execute(text("create table orders (id int)"))
    yield made
    made.dispose()


def _work(papers: Any, number: int) -> list[str]:
    papers.upsert(ids=[f"{number}", "shared"], embeddings=[[1.0], [float(number)]])
    with pytest.raises(errors.InvalidArgumentError):
        papers.add(ids="long", embeddings=[[1.0, 2.0]])
    papers.query(query_embeddings=[[1.0]] * 3)
    papers.delete(ids=[f"gone-{number}"])
    return list(papers.get(ids=[f"{number}"])["ids"])


OWNERS: dict[str, Callable[[Engine], Any]] = {
    "connection": lambda engine: engine.connect(),
    "session": Session,
}


@pytest.mark.heavy
@pytest.mark.parametrize("is_begun", [True, False])
@pytest.mark.parametrize("clients", ["one", "several", "of its connection"])
@pytest.mark.parametrize("kind", list(OWNERS))
def test_threads_take_turns(engine: Engine, kind: str, clients: str, is_begun: bool) -> None:
    with OWNERS[kind](engine) as owner:
        first = pgchroma.PostgresClient(owner)
        papers = first.create_collection("papers", embedding_function=None)
        papers.upsert(ids=["0"], embeddings=[[0.0]])
        if is_begun:
            owner.execute(text("insert into orders values (1)"))
        else:
            owner.commit()
        barrier = threading.Barrier(COUNT)

        def work(number: int) -> list[str]:
            mine = papers
            barrier.wait()
            if clients != "one":
                own = owner
                if clients == "of its connection" and kind == "session" and number % 2:
                    own = owner.connection() if is_begun else owner
                mine = pgchroma.PostgresClient(own).get_collection("papers")
            return _work(mine, number)

        with ThreadPoolExecutor(COUNT) as threads:
            assert list(threads.map(work, range(COUNT))) == [[f"{n}"] for n in range(COUNT)]
        assert papers.count() == COUNT + 1
        owner.execute(text("insert into orders values (2)"))
        owner.commit()
    with pgchroma.PostgresClient(engine) as outside:
        assert outside.get_collection("papers", embedding_function=None).count() == COUNT + 1
    with engine.connect() as connection:
        orders = connection.execute(text("select count(*) from orders")).scalar_one()
    assert orders == 1 + is_begun


@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("clients", ["one", "several"])
async def test_tasks_take_turns(engine: Engine, url: str, kind: str, clients: str) -> None:
    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(url)

    asynchronous = create_async_engine("postgresql+psycopg://", async_creator=connect)
    made: Any = asynchronous.connect() if kind == "connection" else AsyncSession(asynchronous)
    async with made as owner:
        first = await pgchroma.AsyncPostgresClient(owner)
        papers = await first.create_collection("papers", embedding_function=None)
        await owner.commit()

        async def work(number: int) -> list[str]:
            mine: Any = papers
            if clients == "several":
                client = await pgchroma.AsyncPostgresClient(owner)
                mine = await client.get_collection("papers", embedding_function=None)
            await mine.upsert(ids=[f"{number}", "shared"], embeddings=[[1.0], [float(number)]])
            with pytest.raises(errors.InvalidArgumentError):
                await mine.add(ids="long", embeddings=[[1.0, 2.0]])
            await mine.query(query_embeddings=[[1.0]] * 3)
            return list((await mine.get(ids=[f"{number}"]))["ids"])

        done = await asyncio.gather(*(work(number) for number in range(COUNT)))
        assert done == [[f"{number}"] for number in range(COUNT)]
        await owner.execute(text("insert into orders values (1)"))
        await owner.commit()
    await asynchronous.dispose()
    with pgchroma.PostgresClient(engine) as outside:
        assert outside.get_collection("papers", embedding_function=None).count() == COUNT + 1
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from orders")).scalar_one() == 1


async def test_a_call_cancelled_while_it_waits_leaves_the_turns_to_others(url: str) -> None:
    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(url)

    asynchronous = create_async_engine("postgresql+psycopg://", async_creator=connect)
    async with asynchronous.connect() as owner:
        client = await pgchroma.AsyncPostgresClient(owner)
        papers = await client.create_collection("papers", embedding_function=None)
        calls = [
            asyncio.ensure_future(papers.upsert(ids=[f"{n}"], embeddings=[[1.0]]))
            for n in range(COUNT)
        ]
        await asyncio.sleep(0)
        for call in calls[1::2]:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert ended[0::2] == [None] * (COUNT // 2)
        assert await papers.count() == COUNT // 2
        await owner.commit()
    await asynchronous.dispose()
