"""AutoGen's memory on Chroma, which makes the client itself.

python with_autogen.py <base-url> [<api-key>]
"""

from __future__ import annotations

import asyncio

from autogen_core.memory import MemoryContent, MemoryMimeType
from autogen_ext.memory.chromadb import (
    ChromaDBVectorMemory,
    CustomEmbeddingFunctionConfig,
    HttpChromaDBVectorMemoryConfig,
)
from support import Letters, arguments, host_and_port, unique


async def main() -> None:
    url, key = arguments()
    memory = ChromaDBVectorMemory(
        HttpChromaDBVectorMemoryConfig(
            **host_and_port(url),
            headers={"X-Chroma-Token": key} if key else None,
            collection_name=unique("autogen"),
            k=2,
            embedding_function_config=CustomEmbeddingFunctionConfig(function=Letters, params={}),
        )
    )
    for text in ("cats purr", "dogs bark", "cars honk"):
        content = MemoryContent(content=text, mime_type=MemoryMimeType.TEXT, metadata={"n": 1})
        await memory.add(content)
    best, *others = (await memory.query("cats purr")).results
    assert (best.content, len(others)) == ("cats purr", 1)
    assert best.metadata["score"] > 0.99
    await memory.clear()
    assert (await memory.query("cats purr")).results == []
    await memory.close()


if __name__ == "__main__":
    asyncio.run(main())
