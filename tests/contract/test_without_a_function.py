"""Collections without an embedding function: when the user asks for it, and when LangChain does."""

from __future__ import annotations

import types
from typing import Any

import httpx
import pytest

import pgchroma
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from tests.conftest import Mode

REFUSED = "You must provide an embedding function"

LANGCHAIN = """
def get_or_create(client, name, **arguments):
    return client.get_or_create_collection(name=name, embedding_function=None, **arguments)

async def get_or_create_async(client, name, **arguments):
    return await get_or_create(client, name, **arguments)
"""


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the default function count letters."""

    def embed(self: Any, input: list[str]) -> Any:
        return [[float(text.count(letter)) for letter in "abc"] for text in input]

    monkeypatch.setattr(DefaultEmbeddingFunction, "__call__", embed)


def langchain(name: str) -> Any:
    """A module of the given name that makes the same call as LangChain's vector store."""
    module = types.ModuleType(name)
    exec(LANGCHAIN, module.__dict__)
    return module


async def made_by(name: str, mode: Any, collection: str, **arguments: Any) -> Any:
    module = langchain(name)
    if isinstance(mode.target, pgchroma.AsyncClientAPI):
        return Mode(await module.get_or_create_async(mode.target, collection, **arguments))
    return Mode(module.get_or_create(mode.target, collection, **arguments))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"metadata": {"k": 1}, "configuration": {"hnsw": {"space": "cosine"}}}],
    ids=["bare", "configured"],
)
async def test_texts_that_langchain_hands_over_are_embedded(mode: Any, arguments: Any) -> None:
    collection = await made_by("langchain_chroma.vectorstores", mode, "docs", **arguments)
    await collection.upsert(ids=["1", "2"], documents=["aa", "bb"], embeddings=None)
    found = await collection.query(query_texts=["a"], n_results=1, query_embeddings=None)
    assert found["ids"] == [["1"]]
    again = await made_by("langchain_community.vectorstores.chroma", mode, "docs")
    assert (await again.query(query_texts=["b"], n_results=1))["ids"] == [["2"]]
    assert again.configuration_json["hnsw"]["space"] == (
        "cosine" if "configuration" in arguments else "l2"
    )


async def test_a_persisted_function_is_used_for_langchains_texts(mode: Any) -> None:
    await mode.create_collection("docs")
    collection = await made_by("langchain_chroma.vectorstores", mode, "docs")
    await collection.add(ids="1", documents="aa")
    assert collection.configuration_json["embedding_function"]["name"] == "default"


@pytest.mark.parametrize("method", ["create_collection", "get_or_create_collection"])
async def test_none_means_none_where_the_user_writes_it(mode: Any, method: str) -> None:
    collection = await getattr(mode, method)("docs", embedding_function=None)
    with pytest.raises(ValueError, match=REFUSED):
        await collection.add(ids="1", documents="aa")
    again = await made_by("myapp.langchain_chroma", mode, "docs")
    with pytest.raises(ValueError, match=REFUSED):
        await again.query(query_texts="a")


async def test_none_means_none_on_a_collection_of_langchains(mode: Any) -> None:
    await made_by("langchain_chroma.vectorstores", mode, "docs")
    collection = await mode.get_collection("docs", embedding_function=None)
    with pytest.raises(ValueError, match=REFUSED):
        await collection.add(ids="1", documents="aa")
    await (await mode.get_collection("docs")).add(ids="1", documents="aa")


@pytest.mark.parametrize("is_get_or_create", [True, False])
def test_chromas_client_is_told_of_no_function_only_where_there_is_none(
    emptied: str, is_get_or_create: bool
) -> None:
    # What Chroma's client sends for embedding_function=None.
    body = {"name": "docs", "configuration": None, "get_or_create": is_get_or_create}
    base = f"{emptied}/api/v2/tenants/default_tenant/databases/default_database/collections"
    made = httpx.post(base, json=body).raise_for_status().json()
    assert made == httpx.get(f"{base}/docs").raise_for_status().json()
    assert made["configuration_json"]["embedding_function"] is None
    (key, _) = made["schema"]["keys"]["#embedding"], made["schema"]["defaults"]
    config = key["float_list"]["vector_index"]["config"]
    assert config.get("embedding_function") == (None if is_get_or_create else {"type": "legacy"})
