"""Searches by sparse vectors, in every mode: indexes, BM25, embedding, and errors."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest

from pgchroma import (
    K,
    Knn,
    Rrf,
    Schema,
    Search,
    SparseVector,
    SparseVectorIndexConfig,
    VectorIndexConfig,
    errors,
)
from pgchroma.embeddings.sparse import register_sparse_embedding_function
from pgchroma.utils.embedding_functions import ChromaBm25EmbeddingFunction, SparseEmbeddingFunction

VECTORS = [
    SparseVector([1, 2], [1.0, 2.0]),
    SparseVector([2], [3.0]),
    None,
    SparseVector([2, 9], [0.5, 1.0]),
    SparseVector([2**31, 2**32 - 1], [-1.0, 0.0]),
]


@register_sparse_embedding_function
class Letters(SparseEmbeddingFunction[Any]):
    """Counts the letters of a text; those of a query count ten times."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> list[SparseVector]:
        return [_letters(text, 1) for text in input]

    def embed_query(self, input: Any) -> list[SparseVector]:
        return [_letters(text, 10) for text in input]

    @staticmethod
    def name() -> str:
        return "letters_for_tests"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Letters:
        return Letters()


def _letters(text: str, factor: int) -> SparseVector:
    found = sorted(set(text))
    return SparseVector([ord(c) for c in found], [float(factor * text.count(c)) for c in found])


def _schema(**indexes: SparseVectorIndexConfig) -> Schema:
    schema = Schema().create_index(VectorIndexConfig(embedding_function=None))
    for key, index in indexes.items():
        schema.create_index(index, key=key)
    return schema


@pytest.fixture
async def collection(mode: Any) -> Any:
    schema = _schema(sp=SparseVectorIndexConfig(), bm=SparseVectorIndexConfig(bm25=True))
    collection = await mode.create_collection("sparse", schema)
    await collection.add(
        ids=list("abcde"),
        embeddings=[[float(n), 0.0] for n in range(5)],
        metadatas=[{"n": n} | ({"sp": v, "bm": v} if v else {}) for n, v in enumerate(VECTORS)],
    )
    return collection


async def _scored(collection: Any, query: SparseVector, key: str, **more: Any) -> dict[str, float]:
    where = more.pop("where", None)
    search = Search(where=where, rank=Knn(query, key=key, **more), select=[K.SCORE.name])
    found = await collection.search(search)
    return dict(zip(found["ids"][0], found["scores"][0], strict=True))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (SparseVector([2], [1.0]), {"b": -2.0, "a": -1.0, "d": 0.5}),
        (SparseVector([1, 9], [-1.0, 2.0]), {"d": -1.0, "a": 2.0}),
        # The stored form of a value of zero adds nothing, not even to a sum of zero.
        (SparseVector([2**31, 2**32 - 1], [-1.0, -1.0]), {"e": 0.0}),
        # A term counts whatever its value is, and so does a sum of zero.
        (SparseVector([2**31], [1.0]), {"e": 2.0}),
        (SparseVector([2**32 - 1], [5.0]), {"e": 1.0}),
        (SparseVector([1, 2], [2.0, -1.0]), {"a": 1.0, "d": 1.5, "b": 4.0}),
        (SparseVector([2], [0.0]), {"a": 1.0, "b": 1.0, "d": 1.0}),
        (SparseVector([5], [1.0]), {}),
        (SparseVector([], []), {}),
        (SparseVector([1, 2], [3e38, 3e38]), {"b": None, "a": None, "d": pytest.approx(-1.5e38)}),
    ],
)
async def test_the_value_is_one_minus_the_inner_product(
    collection: Any, query: SparseVector, expected: dict[str, float]
) -> None:
    scores = await _scored(collection, query, "sp")
    assert scores == expected
    assert sorted(scores) == sorted(expected)


async def test_limits_and_filters_come_first(collection: Any) -> None:
    query = SparseVector([2], [1.0])
    assert await _scored(collection, query, "sp", limit=1) == {"b": -2.0}
    assert await _scored(collection, query, "sp", limit=1, where=K("n") > 1) == {"d": 0.5}
    assert await _scored(collection, query, "sp", where=K.ID.is_in(["a", "c"])) == {"a": -1.0}


def _idf(records: int, having: int) -> float:
    return math.log(1 + (records - having + 0.5) / (having + 0.5))


async def test_bm25_weighs_terms_by_all_records_at_every_moment(collection: Any) -> None:
    query = SparseVector([1, 2], [1.0, 1.0])

    async def check(records: int, ones: int, twos: int, **more: Any) -> None:
        scores = await _scored(collection, query, "bm", **more)
        one, two = _idf(records, ones), _idf(records, twos)
        assert scores.get("b", 1 - 3 * two) == pytest.approx(1 - 3 * two, rel=1e-5)
        assert scores.get("a", 1 - one - 2 * two) == pytest.approx(1 - one - 2 * two, rel=1e-5)

    await check(5, 1, 3)
    # The filter does not change the weights.
    await check(5, 1, 3, where=K("n") < 1)
    await collection.add("f", [9.0, 9.0], {"bm": SparseVector([1], [1.0])})
    await check(6, 2, 3)
    await collection.update("d", metadatas={"bm": SparseVector([9], [1.0])})
    await check(6, 2, 2)
    await collection.delete(ids=["c", "e"])
    await check(4, 2, 2)
    await collection.update("f", metadatas={"bm": None})
    await check(4, 1, 2)


async def test_dense_and_sparse_are_fused(collection: Any) -> None:
    ranks = [
        Knn([4.0, 0.0], limit=2, return_rank=True, default=100),
        Knn(SparseVector([2], [1.0]), key="sp", limit=2, return_rank=True, default=100),
    ]
    found = await collection.search(Search(rank=Rrf(ranks), select=["sp"]))
    assert found["ids"] == [["b", "e", "a", "d"]]
    vectors = dict(zip("abcde", VECTORS, strict=True))
    assert found["metadatas"] == [[{"sp": vectors[id]} for id in found["ids"][0]]]


@pytest.mark.parametrize("key", ["other", "n", "#embedding", "off"])
async def test_a_key_without_an_index_is_refused(mode: Any, key: str) -> None:
    schema = _schema(sp=SparseVectorIndexConfig())
    collection = await mode.create_collection("sparse", schema)
    await collection.add("a", [1.0], {"other": VECTORS[0], "n": 1})
    search = Search(rank=Knn([1.0]) + Knn(VECTORS[0] or [], key=key))
    with pytest.raises(errors.InvalidArgumentError, match="type 'SparseVector' because indexing"):
        await collection.search(search)


async def test_the_schema_is_given_back(mode: Any) -> None:
    function = ChromaBm25EmbeddingFunction()
    index = SparseVectorIndexConfig(
        embedding_function=function, source_key="#document", bm25=True, algorithm="max_score"
    )
    made = await mode.create_collection(
        "sparse", _schema(sp=index, other=SparseVectorIndexConfig())
    )
    for collection in (made, await mode.get_collection("sparse")):
        keys = collection.schema.serialize_to_json()["keys"]
        assert keys["sp"]["sparse_vector"]["sparse_vector_index"] == {
            "enabled": True,
            "config": {
                "embedding_function": {
                    "type": "known", "name": "chroma_bm25", "config": function.get_config(),
                },
                "source_key": "#document", "bm25": True, "algorithm": "max_score",
            },
        }  # fmt: skip
        assert keys["other"]["sparse_vector"]["sparse_vector_index"]["enabled"] is True


async def test_documents_are_embedded_for_the_index(mode: Any) -> None:
    index = SparseVectorIndexConfig(embedding_function=Letters(), source_key="#document")
    collection = await mode.create_collection("sparse", _schema(sp=index))
    own = SparseVector([1], [1.0])
    await collection.add(
        ["a", "b", "c"],
        [[1.0], [2.0], [3.0]],
        [None, {"n": 1}, {"sp": own}],
        ["aab", "ba", "x"],
    )
    await collection.add("d", [4.0], {"n": 2})
    found = await collection.get()
    assert found["metadatas"] == [
        {"sp": _letters("aab", 1)}, {"n": 1, "sp": _letters("ba", 1)}, {"sp": own}, {"n": 2},
    ]  # fmt: skip
    # Only a document is embedded again, and other metadata does not change the vector.
    await collection.update("a", metadatas={"n": 5})
    await collection.update("b", embeddings=[2.0], documents="zz")
    await collection.upsert("d", [4.0], documents="")
    found = await collection.get(ids=["a", "b", "d"])
    assert [metadata["sp"] for metadata in found["metadatas"]] == [
        _letters("aab", 1), _letters("zz", 1), SparseVector([], []),
    ]  # fmt: skip
    search = Search(rank=Knn("a", key="sp"), select=["#score"])
    found = await collection.search(search)
    assert (found["ids"], found["scores"]) == ([["a"]], [[-19.0]])


async def test_another_key_is_embedded_for_the_index(mode: Any) -> None:
    index = SparseVectorIndexConfig(embedding_function=Letters(), source_key="title")
    collection = await mode.create_collection("sparse", _schema(sp=index))
    metadatas = [{"title": "ab"}, {"title": 5}, {"n": 1}]
    await collection.add(["a", "b", "c"], [[1.0], [2.0], [3.0]], metadatas, ["x", "y", "z"])
    found = await collection.get()
    assert found["metadatas"] == [{"title": "ab", "sp": _letters("ab", 1)}, *metadatas[1:]]
    await collection.update("a", documents="w", embeddings=[1.0])
    assert (await collection.get(ids="a"))["metadatas"][0]["sp"] == _letters("ab", 1)


async def test_a_text_needs_a_function(mode: Any) -> None:
    collection = await mode.create_collection("sparse", _schema(sp=SparseVectorIndexConfig()))
    with pytest.raises(ValueError, match="no embedding function configured for this key"):
        await collection.search(Search(rank=Knn("text", key="sp")))
    with pytest.raises(ValueError, match="key not found in schema"):
        await collection.search(Search(rank=Knn("text", key="other")))


async def test_bm25_finds_what_words_say(mode: Any) -> None:
    index = SparseVectorIndexConfig(
        embedding_function=ChromaBm25EmbeddingFunction(), source_key="#document", bm25=True
    )
    collection = await mode.create_collection("words", _schema(sp=index))
    documents = ["HNSW indexes in PostgreSQL", "A recipe for plum cake", "PostgreSQL 18 is out"]
    await collection.add(["index", "cake", "release"], np.eye(3), documents=documents)
    for text, expected in (("plum cakes", ["cake"]), ("index PostgreSQL", ["index", "release"])):
        found = await collection.search(Search(rank=Knn(text, key="sp")))
        assert found["ids"] == [expected]


async def test_a_deleted_collection_leaves_nothing(mode: Any) -> None:
    for _ in range(2):
        schema = _schema(a=SparseVectorIndexConfig(), b=SparseVectorIndexConfig())
        collection = await mode.create_collection("again", schema)
        await collection.add("a", [1.0], {"a": VECTORS[0], "b": VECTORS[1]})
        names = _relations(mode.conninfo, collection.id)
        assert {f"sparse_{collection.id.hex}_{number}" for number in (0, 1)} <= names
        await mode.delete_collection("again")
        assert _relations(mode.conninfo, collection.id) == set()


def _relations(conninfo: str, id: UUID) -> set[str]:
    """Return the names of all tables, indexes and sequences of a collection."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "select relname::text from pg_class where strpos(relname, %s) > 0", [id.hex]
        )
        return {name for (name,) in rows}
