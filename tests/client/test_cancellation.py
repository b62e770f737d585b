"""Requests that are given up: their connections go back to the pool, and clean."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pgchroma


async def test_a_request_that_is_given_up_gives_its_connection_back(url: str) -> None:
    settings = pgchroma.Settings(pgchroma_pool_size=3)
    async with pgchroma.AsyncPostgresClient(url, settings) as client:
        collection = await client.create_collection("papers", embedding_function=None)
        await collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
        chance = random.Random(7)

        async def ask(seconds: float) -> Any:
            try:
                async with asyncio.timeout(seconds):
                    return (await collection.get(ids=["a"]))["ids"]
            except TimeoutError:
                return ["a"]

        for _ in range(150):
            answers = await asyncio.gather(*(ask(chance.random() * 0.004) for _ in range(9)))
            # Each call got its own answer.
            assert all(answer == ["a"] for answer in answers)
        for _ in range(50):
            statistics = client._backend.statistics()  # type: ignore[attr-defined]
            if statistics["idle"] == statistics["size"]:
                break
            await asyncio.sleep(0.05)
        assert statistics["idle"] == statistics["size"]
        assert await asyncio.gather(*(collection.count() for _ in range(9))) == [2] * 9
