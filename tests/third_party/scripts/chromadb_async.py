"""Chroma's asynchronous Python client.

python chromadb_async.py <base-url> [<api-key>]; the key is sent as `X-Chroma-Token`, as a header:
this client leaves the settings for authentication unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import chromadb
import numpy as np
from chromadb.api import AsyncClientAPI
from chromadb.api.models.AsyncCollection import AsyncCollection
from chromadb.config import Settings
from chromadb.errors import ChromaError, DuplicateIDError, InvalidArgumentError, NotFoundError
from support import arguments, raises, settings, unique

FRUIT = {
    "ids": ["apple", "pear", "plum"],
    "embeddings": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]],
    "documents": ["a red apple", "a green pear", "a blue plum"],
    "metadatas": [{"n": 1, "sour": True}, {"n": 2, "sour": False}, {"n": 3, "stone": "one"}],
}


async def main() -> None:
    url, key = arguments()
    # A host may be a whole URL; its port is then the one that counts.
    client = await chromadb.AsyncHttpClient(
        host=url,
        headers={"X-Chroma-Token": key} if key else None,
        settings=Settings(**settings(None)),
    )
    await the_server_describes_itself(client)
    await collections(client)
    await collections_are_refused(client)
    await records_are_read(client)
    await filters(client)
    await updates_and_upserts(client)
    await deletes(client)
    await records_are_refused(client)
    await many_at_once(client)


@asynccontextmanager
async def collection(client: AsyncClientAPI, **arguments: Any) -> AsyncIterator[AsyncCollection]:
    """A new collection, deleted in the end."""
    made = await client.create_collection(unique("test"), **arguments)
    try:
        yield made
    finally:
        await client.delete_collection(made.name)


async def the_server_describes_itself(client: AsyncClientAPI) -> None:
    assert await client.heartbeat() > 0
    assert await client.get_version()
    assert await client.get_max_batch_size() > 0
    assert (await client.get_user_identity()).tenant == "default_tenant"
    assert (client.tenant, client.database) == ("default_tenant", "default_database")


async def collections(client: AsyncClientAPI) -> None:
    before = await client.count_collections()
    name = unique("test")
    made = await client.create_collection(name, metadata={"topic": "ai", "n": 1})
    assert isinstance(made.id, UUID)
    assert await client.count_collections() == before + 1
    assert name in {c.name for c in await client.list_collections()}
    assert len(await client.list_collections(limit=1)) == 1
    for found in (await client.get_collection(name), await client.get_or_create_collection(name)):
        assert (found.id, found.metadata) == (made.id, {"topic": "ai", "n": 1})

    renamed = unique("new")
    await made.modify(name=renamed, metadata={"b": 2.5})
    found = await client.get_collection(renamed)
    assert (found.id, found.metadata) == (made.id, {"b": 2.5})
    await client.delete_collection(renamed)
    assert await client.count_collections() == before


async def collections_are_refused(client: AsyncClientAPI) -> None:
    missing = unique("missing")
    with raises(NotFoundError, f"Collection [{missing}] does not exist"):
        await client.get_collection(missing)
    with raises(NotFoundError, f"Collection [{missing}] does not exist"):
        await client.delete_collection(missing)
    with raises(InvalidArgumentError, ""):
        await client.create_collection("no spaces")
    async with collection(client) as c:
        with raises(ChromaError, f"Collection [{c.name}] already exists"):
            await client.create_collection(c.name)


async def records_are_read(client: AsyncClientAPI) -> None:
    async with collection(client, configuration={"hnsw": {"space": "cosine"}}) as c:
        await c.add(**FRUIT)
        assert await c.count() == 3
        got = await c.get(include=["documents", "metadatas", "embeddings"])
        assert got["ids"] == FRUIT["ids"]
        assert got["documents"] == FRUIT["documents"]
        assert got["metadatas"] == FRUIT["metadatas"]
        assert got["embeddings"].tolist() == FRUIT["embeddings"]
        assert (await c.get(limit=1, offset=1))["ids"] == ["pear"]
        assert (await c.peek(2))["ids"] == ["apple", "pear"]
        found = await c.query(query_embeddings=np.array([[2.0, 0.0], [0.0, 3.0]]), n_results=1)
        assert found["ids"] == [["apple"], ["pear"]]
        assert found["documents"] == [["a red apple"], ["a green pear"]]
        assert np.allclose(found["distances"], [[0.0], [0.0]], atol=1e-6)


async def filters(client: AsyncClientAPI) -> None:
    async with collection(client) as c:
        await c.add(**FRUIT)
        for where, expected in (
            ({"n": {"$gte": 2}}, "pear plum"),
            ({"sour": True}, "apple"),
            ({"stone": {"$ne": "one"}}, "apple pear"),
            ({"$or": [{"n": {"$in": [1]}}, {"stone": "one"}]}, "apple plum"),
        ):
            assert (await c.get(where=where))["ids"] == expected.split(), where
            found = await c.query(query_embeddings=[[2.0, 1.0]], where=where)
            assert found["ids"] == [expected.split()], where
        for text, expected in (
            ({"$contains": "green"}, "pear"),
            ({"$not_contains": "green"}, "apple plum"),
            ({"$regex": "(red|blue) "}, "apple plum"),
        ):
            assert (await c.get(where_document=text))["ids"] == expected.split(), text


async def updates_and_upserts(client: AsyncClientAPI) -> None:
    async with collection(client) as c:
        await c.add(**FRUIT)
        await c.update(ids="apple", metadatas={"n": 10, "sour": None})
        assert (await c.get("apple"))["metadatas"] == [{"n": 10}]
        await c.upsert(
            ids=["plum", "fig"],
            embeddings=[[-2.0, 0.0], [5.0, 5.0]],
            documents=["a purple plum", "a fig"],
            metadatas=[{"n": 30}, {"n": 4}],
        )
        got = await c.get(["plum", "fig"], include=["documents", "metadatas", "embeddings"])
        assert got["documents"] == ["a purple plum", "a fig"]
        assert got["metadatas"] == [{"n": 30, "stone": "one"}, {"n": 4}]
        assert got["embeddings"].tolist() == [[-2.0, 0.0], [5.0, 5.0]]
        assert await c.count() == 4


async def deletes(client: AsyncClientAPI) -> None:
    async with collection(client) as c:
        await c.add(**FRUIT)
        assert await c.delete(ids=["apple"]) == {"deleted": 1}
        assert await c.delete(where={"n": 2}) == {"deleted": 1}
        assert await c.delete(where_document={"$contains": "plum"}) == {"deleted": 1}
        assert await c.count() == 0


async def records_are_refused(client: AsyncClientAPI) -> None:
    async with collection(client) as c:
        await c.add(**FRUIT)
        wrong = "Collection expecting embedding with dimension of 2, got 3"
        with raises(InvalidArgumentError, wrong):
            await c.add(ids="x", embeddings=[1.0, 2.0, 3.0])
        with raises(InvalidArgumentError, wrong):
            await c.query(query_embeddings=[[1.0, 2.0, 3.0]])
        with raises(InvalidArgumentError, "Invalid where clause"):
            await c.get(where={"n": {"$gt": True}})
        with raises(ValueError, "Expected where operator to be one of"):
            await c.get(where={"n": {"$bogus": 1}})
        with raises(DuplicateIDError, "found duplicates of: x"):
            await c.add(ids=["x", "x"], embeddings=[[1.0, 0.0]] * 2)
        assert await c.count() == 3
    with raises(NotFoundError, f"Collection [{c.id}] does not exist"):
        await c.count()


async def many_at_once(client: AsyncClientAPI) -> None:
    """Writes and reads side by side, over several connections."""
    async with collection(client) as c:
        await asyncio.gather(
            *(c.add(ids=f"{n:02}", embeddings=[[float(n), 0.0]]) for n in range(40))
        )
        assert await c.count() == 40
        queries = (c.query(query_embeddings=[[float(n), 0.0]], n_results=1) for n in range(40))
        found = [answer["ids"][0][0] for answer in await asyncio.gather(*queries)]
        assert found == [f"{n:02}" for n in range(40)]


if __name__ == "__main__":
    asyncio.run(main())
