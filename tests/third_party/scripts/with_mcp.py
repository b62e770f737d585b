"""Chroma's server of the Model Context Protocol: each of its 13 tools.

python with_mcp.py <base-url> [<api-key>]
"""

from __future__ import annotations

import asyncio
from typing import Any

from chroma_mcp import server
from chromadb.api.types import DefaultEmbeddingFunction
from support import Letters, arguments, connect, unique

TOOLS = 13


async def call(tool: str, **given: Any) -> Any:
    """Call a tool as the protocol does, by name; return what it returned."""
    return await server.mcp._tool_manager.call_tool(f"chroma_{tool}", given)


async def main() -> None:
    server._chroma_client = connect(*arguments())
    # The weights of the default function would be downloaded.
    DefaultEmbeddingFunction.__call__ = Letters.__call__
    assert len(await server.mcp.list_tools()) == TOOLS
    name = unique("mcp")
    await call("create_collection", collection_name=name, metadata={"k": 1})
    assert name in await call("list_collections")
    await call(
        "add_documents", collection_name=name, ids=["a", "b", "c"],
        documents=["cats purr", "dogs bark", "cars honk"], metadatas=[{"n": 1}, {"n": 2}, {"n": 3}],
    )  # fmt: skip
    assert await call("get_collection_count", collection_name=name) == 3
    assert (await call("get_collection_info", collection_name=name))["count"] == 3
    assert (await call("peek_collection", collection_name=name, limit=2))["ids"] == ["a", "b"]
    found = await call(
        "query_documents", collection_name=name, query_texts=["dogs bark"], n_results=1,
        where={"n": {"$gt": 1}},
    )  # fmt: skip
    assert found["ids"] == [["b"]]
    got = await call("get_documents", collection_name=name, where_document={"$contains": "honk"})
    assert got["ids"] == ["c"]
    await call("update_documents", collection_name=name, ids=["a"], documents=["cats nap"])
    got = await call("get_documents", collection_name=name, ids=["a"])
    assert got["documents"] == ["cats nap"]
    await call("delete_documents", collection_name=name, ids=["a"])
    assert await call("get_collection_count", collection_name=name) == 2
    try:
        await call("fork_collection", collection_name=name, new_collection_name="other")
    except Exception as error:
        assert "forking is unsupported" in str(error), error
    else:
        raise AssertionError("a single node of Chroma has no forks")
    renamed = unique("mcp")
    await call("modify_collection", collection_name=name, new_name=renamed)
    assert renamed in await call("list_collections")
    await call("delete_collection", collection_name=renamed)
    assert renamed not in await call("list_collections")
    server._chroma_client.close()


if __name__ == "__main__":
    asyncio.run(main())
