"""Chroma's Python client: searches, which only Chroma's cloud answers.

python searching.py <base-url> [<api-key>]
"""

from __future__ import annotations

import asyncio

import chromadb
import httpx
from chromadb import (
    K,
    Knn,
    Rrf,
    Schema,
    Search,
    SparseVectorIndexConfig,
    VectorIndexConfig,
)
from chromadb.base_types import SparseVector
from chromadb.config import Settings
from chromadb.execution.expression.operator import GroupBy, MinK
from chromadb.utils.embedding_functions import (
    ChromaBm25EmbeddingFunction,
    register_embedding_function,
)
from support import Letters, arguments, connect, host_and_port, settings, unique

TEXTS = {"cat": "a cat and a dog", "bacon": "bacon and eggs", "cab": "a cab", "gap": "mind the gap"}
METADATAS = [{"kind": "animal"}, {"kind": "food"}, {"kind": "car"}, {"kind": "food"}]


register_embedding_function(Letters)


def main() -> None:
    url, key = arguments()
    client = connect(url, key)
    made = client.create_collection(unique("searched"), embedding_function=Letters())
    made.add(ids=list(TEXTS), documents=list(TEXTS.values()), metadatas=METADATAS)
    a_search_by_text(made)
    a_fusion(made)
    a_batch(made)
    asyncio.run(an_asynchronous_search(url, key, made.name))
    client.delete_collection(made.name)
    a_hybrid_search(client)
    a_search_for_words(client, url, key)


def a_search_by_text(made: chromadb.Collection) -> None:
    search = (
        Search()
        .where(K("kind").is_in(["food", "car"]) & K.DOCUMENT.contains("a"))
        .rank(Knn("cab", limit=3))
        .limit(2)
        .select(K.DOCUMENT, K.SCORE, "kind")
    )
    found = made.search(search)
    (rows,) = found.rows()
    assert [row["id"] for row in rows] == ["cab", "gap"], rows
    assert rows[0]["document"] == "a cab", rows
    assert rows[0]["metadata"] == {"kind": "car"}, rows
    assert rows[0]["score"] <= rows[1]["score"], rows
    assert found["select"] == [["#document", "#score", "kind"]], found


def a_fusion(made: chromadb.Collection) -> None:
    ranks = [Knn(text, limit=4, return_rank=True) for text in ("cab", "a cat and a dog")]
    found = made.search(Search().rank(Rrf(ranks, k=1, weights=[3, 1])).select_all())
    (rows,) = found.rows()
    assert rows[0]["id"] == "cab", rows
    assert len(rows) == 4, rows
    assert len(rows[0]["embedding"]) == 13, rows
    best = GroupBy(keys=[K("kind")], aggregate=MinK(keys=[K.SCORE], k=1))
    found = made.search(Search(rank=Knn("cab"), group_by=best, select=["kind"]))
    kinds = [row["metadata"]["kind"] for row in found.rows()[0]]
    assert sorted(kinds) == ["animal", "car", "food"], kinds


def a_batch(made: chromadb.Collection) -> None:
    found = made.search([Search().limit(1), Search(where=K.ID == "gap"), Search().limit(2, 1)])
    assert found["ids"] == [["cat"], ["gap"], ["bacon", "cab"]], found
    try:
        made.search(Search(rank=Knn([1.0])))
    except chromadb.errors.InvalidArgumentError as error:
        assert "Collection expecting embedding with dimension of 13, got 1" in str(error)
    else:
        raise AssertionError("a query of another dimension was accepted")


def a_hybrid_search(client: chromadb.ClientAPI) -> None:
    words = SparseVectorIndexConfig(
        source_key=K.DOCUMENT, embedding_function=ChromaBm25EmbeddingFunction(), bm25=True
    )
    schema = Schema().create_index(config=VectorIndexConfig(embedding_function=Letters()))
    schema.create_index(config=words, key="words")
    made = client.create_collection(unique("hybrid"), schema=schema)
    made.add(ids=list(TEXTS), documents=list(TEXTS.values()), metadatas=METADATAS)
    found = made.search(Search(rank=Knn("bacon dog", key="words"), select=["words"]))
    assert sorted(found["ids"][0]) == ["bacon", "cat"], found
    assert isinstance(found["metadatas"][0][0]["words"], SparseVector), found
    ranks = [Knn("eggs", key=key, return_rank=True, default=100) for key in ("#embedding", "words")]
    found = made.search(Search(rank=Rrf(ranks), select=["#score"]).limit(1))
    assert found["ids"] == [["bacon"]], found
    again = client.get_collection(made.name, embedding_function=Letters())
    assert again.search(Search(rank=Knn("cab", key="words")))["ids"] == [["cab"]]
    client.delete_collection(made.name)


def a_search_for_words(client: chromadb.ClientAPI, url: str, key: str | None) -> None:
    """Chroma's client chooses a full-text index, and any client of HTTP uses it."""
    metadata = {"pgchroma:text_language": "english"}
    made = client.create_collection(
        unique("words"), metadata=metadata, embedding_function=Letters()
    )
    made.add(ids=list(TEXTS), documents=list(TEXTS.values()), metadatas=METADATAS)
    again = client.get_collection(made.name, embedding_function=Letters())
    assert again.metadata == metadata, again.metadata
    path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{made.id}"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url + path, headers=headers) as http:
        search = {"rank": {"$text": {"query": "the bacon and eggs"}}}
        found = http.post("/search", json={"searches": [search]}).raise_for_status().json()
        assert found["ids"] == [["bacon"]], found
        body = {"where_document": {"$matches": "cabs or dogs"}}
        found = http.post("/get", json=body).raise_for_status().json()
        assert found["ids"] == ["cat", "cab"], found
    client.delete_collection(made.name)


async def an_asynchronous_search(url: str, key: str | None, name: str) -> None:
    client = await chromadb.AsyncHttpClient(
        **host_and_port(url), settings=Settings(**settings(key))
    )
    made = await client.get_collection(name, embedding_function=Letters())
    found = await made.search(Search().rank(Knn("cab", limit=1) * 2 + 1).select(K.SCORE))
    assert (found["ids"], found["scores"]) == ([["cab"]], [[3.0]]), found


if __name__ == "__main__":
    main()
