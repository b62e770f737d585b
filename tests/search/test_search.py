"""Searches in every mode: rank expressions, filters, groups, pages, fields and errors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from pgchroma import K, Knn, Rrf, Schema, Search, SparseVector, StringInvertedIndexConfig, errors
from pgchroma.api.types import Documents, EmbeddingFunction
from pgchroma.execution.expression import GroupBy, MaxK, MinK, Val
from pgchroma.model.types import ReadLevel

ORIGIN = [0.0, 0.0]


@pytest.fixture
async def collection(mode: Any) -> Any:
    collection = await mode.create_collection("searched", embedding_function=None)
    await collection.add(
        ids=["a", "b", "c", "d", "e"],
        embeddings=[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 0.0]],
        documents=["one", None, "two", "six", "ten"],
        metadatas=[{"c": "x", "n": 1}, {"c": "x", "n": 2}, {"c": "y", "n": 2.0}, {"n": 5}, None],
        uris=["file:a", None, None, None, "file:e"],
    )
    return collection


async def _scored(collection: Any, search: Search) -> dict[str, float | None]:
    found = await collection.search(search.select(K.SCORE))
    return dict(zip(found["ids"][0], found["scores"][0], strict=True))


async def test_a_search_by_a_vector_returns_the_nearest_first(collection: Any) -> None:
    found = await collection.search(Search().rank(Knn(ORIGIN, limit=3)).select_all())
    assert found == {
        "ids": [["a", "b", "e"]],
        "documents": [["one", None, "ten"]],
        "embeddings": [[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]],
        "metadatas": [[{"c": "x", "n": 1}, {"c": "x", "n": 2}, None]],
        "scores": [[0.0, 1.0, 1.0]],
        "select": [["#document", "#embedding", "#metadata", "#score"]],
    }
    assert found.rows()[0][1] == {
        "id": "b", "embedding": [1.0, 0.0], "metadata": {"c": "x", "n": 2}, "score": 1.0,
    }  # fmt: skip


async def test_without_a_rank_records_come_in_insertion_order(collection: Any) -> None:
    found = await collection.search(Search().limit(2, offset=1).select(K.SCORE))
    assert (found["ids"], found["scores"]) == ([["b", "c"]], [[0.0, 1.0]])
    assert (await collection.search(Search()))["ids"] == [["a", "b", "c", "d", "e"]]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (Val(1) / Knn(ORIGIN, limit=3), {"b": 1.0, "e": 1.0, "a": None}),
        (Knn(ORIGIN, limit=3).log(), {"a": None, "b": 0.0, "e": 0.0}),
        (Knn(ORIGIN, limit=3) / Knn(ORIGIN, limit=3), {"b": 1.0, "e": 1.0, "a": None}),
        (Knn(ORIGIN, limit=3).max(0.5), {"a": 0.5, "b": 1.0, "e": 1.0}),
        (-Knn(ORIGIN, limit=2), {"b": -1.0, "a": 0.0}),
        (Val(1), {}),
        (Val(1) + 2, {}),
        (Knn(ORIGIN, limit=0), {}),
        # 1e39 is infinite in 32 bits.
        (Knn(ORIGIN, limit=1) + 1e39, {"a": None}),
        (Knn(ORIGIN, limit=1) * 1e-30 * 1e-30 + 1, {"a": 1.0}),
        (Knn(ORIGIN, limit=2).exp(), {"a": 1.0, "b": float(np.float32(np.e))}),
    ],
    ids=str,
)
async def test_arithmetic_is_that_of_float32_and_never_fails(
    collection: Any, rank: Any, expected: dict[str, float | None]
) -> None:
    scores = await _scored(collection, Search().rank(rank))
    assert scores == expected
    assert list(scores) == list(expected)


async def test_sums_are_rounded_to_float32(collection: Any) -> None:
    scores = await _scored(collection, Search().rank(Knn(ORIGIN, limit=2) + 0.1 + 0.2))
    one, tenth, fifth = np.float32(1), np.float32(0.1), np.float32(0.2)
    assert scores == {"a": float(tenth + fifth), "b": float(one + tenth + fifth)}


async def test_without_defaults_all_parts_have_to_find_a_record(collection: Any) -> None:
    both = Knn(ORIGIN, limit=3) + Knn([3.0, 0.0], limit=3)
    assert await _scored(collection, Search().rank(both)) == {"b": 5.0, "e": 5.0}


async def test_a_default_keeps_a_record_and_never_adds_one(collection: Any) -> None:
    left = Knn(ORIGIN, limit=3, default=10) + Knn([3.0, 0.0], limit=1)
    assert await _scored(collection, Search().rank(left)) == {"d": 10.0}
    union = Knn(ORIGIN, limit=1, default=10) + Knn([3.0, 0.0], limit=1, default=20)
    assert await _scored(collection, Search().rank(union)) == {"d": 10.0, "a": 20.0}
    assert await _scored(collection, Search().rank(Knn(ORIGIN, limit=1, default=9))) == {"a": 0.0}


async def test_reciprocal_rank_fusion(collection: Any) -> None:
    ranks = [Knn(query, limit=3, return_rank=True) for query in (ORIGIN, [1.0, 0.0])]
    scores = await _scored(collection, Search().rank(Rrf(ranks)))
    # The first search finds a, b, e; the second one b, e, a.
    assert list(scores) == ["b", "a", "e"]
    assert scores["b"] == pytest.approx(-(1 / 61 + 1 / 60), rel=1e-6)
    ranks = [Knn(q, limit=1, default=100, return_rank=True) for q in (ORIGIN, [0.0, 2.0])]
    weighted = await _scored(collection, Search().rank(Rrf(ranks, weights=[1, 3], normalize=True)))
    assert list(weighted) == ["c", "a"]
    assert weighted["a"] == pytest.approx(-(0.25 / 60 + 0.75 / 160), rel=1e-6)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (K("n") >= 2, ["b", "c", "d"]),
        (K.ID.is_in(["a", "d", "zzz"]), ["a", "d"]),
        (K.ID != "a", ["b", "e", "c", "d"]),
        (K.DOCUMENT.contains("t"), ["e", "c"]),
        (K.DOCUMENT.regex("^t") & (K("c") == "y"), ["c"]),
        (K.SCORE == 1, []),
    ],
    ids=str,
)
async def test_filters_apply_before_the_nearest_are_chosen(
    collection: Any, where: Any, expected: list[str]
) -> None:
    found = await collection.search(Search(where=where, rank=Knn(ORIGIN, limit=4)))
    assert found["ids"] == [expected]
    # The limit of a part counts matching records only.
    nearest = await collection.search(Search(where=where, rank=Knn(ORIGIN, limit=1)))
    assert nearest["ids"] == [expected[:1]]
    assert sorted((await collection.search(Search(where=where)))["ids"][0]) == sorted(expected)


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        (GroupBy("c", MinK(K.SCORE, 1)), {"a": 0.0, "e": 1.0, "c": 4.0}),
        (GroupBy([K("c")], MaxK([K("n")], 1)), {"b": 1.0, "c": 4.0, "d": 9.0}),
        # 2 and 2.0 are different groups.
        (GroupBy("n", MinK(K.SCORE, 1)), {"a": 0.0, "b": 1.0, "e": 1.0, "c": 4.0, "d": 9.0}),
        (GroupBy("none", MinK([K("c"), K.SCORE], 2)), {"e": 1.0, "d": 9.0}),
        (GroupBy("none", MaxK([K("n")], 2)), {"c": 4.0, "d": 9.0}),
    ],
    ids=["best of each", "greatest", "by number", "absent first", "absent last"],
)
async def test_groups_keep_some_of_their_records(
    collection: Any, group_by: GroupBy, expected: dict[str, float]
) -> None:
    scores = await _scored(collection, Search(rank=Knn(ORIGIN), group_by=group_by))
    assert scores == expected
    assert list(scores) == list(expected)
    page = Search(rank=Knn(ORIGIN), group_by=group_by).limit(1, offset=1)
    assert list(await _scored(collection, page)) == list(expected)[1:2]


async def test_lists_are_ordered_by_their_elements(mode: Any) -> None:
    collection = await mode.create_collection("lists", embedding_function=None)
    values: list[Any] = [[2], [1, 5], [1], [1.5], ["b"], ["B", "z"], [True], "text", 9, 0.5, False]
    await collection.add(
        ids=[str(value) for value in values],
        embeddings=[[float(n)] for n in range(len(values))],
        metadatas=[{"v": value} for value in values],
    )
    order = [False, 9, 0.5, "text", [True], [1], [1, 5], [2], [1.5], ["B", "z"], ["b"]]
    for k in range(1, len(values) + 1):
        for aggregate, expected in ((MinK, order[:k]), (MaxK, order[-k:])):
            search = Search(rank=Knn([0.0]), group_by=GroupBy("none", aggregate("v", k)))
            found = await collection.search(search)
            assert sorted(found["ids"][0]) == sorted(map(str, expected))


@pytest.mark.parametrize(
    ("keys", "metadatas", "documents"),
    [
        ([], None, None),
        (["#id"], [None, None], None),
        (["n", "#document", "#id"], [{"n": 1}, {"n": 2}], ["one", None]),
        (["#metadata", "n"], [{"c": "x", "n": 1}, {"c": "x", "n": 2}], None),
        (["none"], [None, None], None),
    ],
)
async def test_only_the_selected_fields_are_returned(
    collection: Any, keys: list[str], metadatas: Any, documents: Any
) -> None:
    found = await collection.search(Search(select=keys).limit(2))
    assert found["ids"] == [["a", "b"]]
    assert (found["metadatas"], found["documents"]) == ([metadatas], [documents])
    assert (found["embeddings"], found["scores"]) == ([None], [None])
    names = sorted(key for key in keys if key in ("#document", "#metadata"))
    assert found["select"] == [names + sorted(set(keys) - set(names))]


async def test_a_batch_has_an_answer_for_each_search(collection: Any) -> None:
    searches = [
        Search(rank=Knn(ORIGIN, limit=1), select=["#score"]),
        Search(where=K("n") == 5, select=["n"]),
        Search(rank=Val(1), select=["#document"]),
    ]
    found = await collection.search(searches, read_level=ReadLevel.INDEX_ONLY)
    assert found == {
        "ids": [["a"], ["d"], []],
        "documents": [None, None, []],
        "embeddings": [None, None, None],
        "metadatas": [None, [{"n": 5}], None],
        "scores": [[0.0], None, None],
        "select": [["#score"], ["n"], ["#document"]],
    }
    assert (await collection.search([]))["ids"] == []


async def test_a_search_sees_what_was_written(collection: Any) -> None:
    nearest = Search(rank=Knn(ORIGIN, limit=2), select=["n"])
    await collection.update(ids="a", embeddings=[9.0, 9.0], metadatas={"n": 7})
    assert (await collection.search(nearest))["ids"] == [["b", "e"]]
    await collection.delete(ids="b")
    await collection.add(ids="b", embeddings=[1.0, 0.0], metadatas={"n": 8})
    # What is deleted and added again is last among equals.
    found = await collection.search(nearest)
    assert (found["ids"], found["metadatas"]) == ([["e", "b"]], [[None, {"n": 8}]])


class Lengths(EmbeddingFunction[Documents]):
    """Embeds a text by its length, and a query by ten times that."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Documents) -> Any:
        return [np.array([len(text), 0.0], dtype=np.float32) for text in input]

    def embed_query(self, input: Documents) -> Any:
        return [10 * embedding for embedding in self(input)]

    @staticmethod
    def name() -> str:
        return "lengths"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Lengths:
        return Lengths()


async def test_texts_are_embedded_as_queries(mode: Any) -> None:
    collection = await mode.create_collection("texts", embedding_function=Lengths())
    await collection.add(ids=["short", "long"], documents=["a", "a" * 20])
    rank = Rrf([Knn("ab", limit=1, return_rank=True), Knn("aa", limit=2, return_rank=True)])
    assert (await collection.search(Search(rank=rank)))["ids"] == [["long"]]
    found = await collection.search(Search(rank=Knn("ab", limit=1) - 1, select=["#score"]))
    assert (found["ids"], found["scores"]) == ([["long"]], [[-1.0]])
    with pytest.raises(ValueError, match=r"Cannot embed string query for key 'sp'.*in search\.$"):
        await collection.search(Search(rank=Knn("text", key="sp")))


async def test_an_empty_collection_answers_any_query(mode: Any) -> None:
    collection = await mode.create_collection("empty", embedding_function=None)
    searches = [Search(rank=Knn([1.0, 2.0])), Search(rank=Knn([1.0])), Search()]
    assert (await collection.search(searches))["ids"] == [[], [], []]


def _nested(depth: int) -> Any:
    rank: Any = Knn(ORIGIN, limit=1)
    for _ in range(depth - 1):
        rank = rank.abs()
    return rank


async def test_large_expressions_are_computed_up_to_a_limit(collection: Any) -> None:
    assert await _scored(collection, Search(rank=_nested(64))) == {"a": 0.0}
    wide = Knn(ORIGIN, limit=1)
    for _ in range(200):
        wide = wide + Knn([1.0, 0.0], limit=1, default=1)  # type: ignore[assignment]
    assert await _scored(collection, Search(rank=wide)) == {"a": 200.0}


class Bad:
    """Searches that are refused, and how."""

    SPARSE: ClassVar = SparseVector([1, 5], [0.5, 0.25])
    CASES: ClassVar[dict[str, tuple[Any, type[Exception], str]]] = {
        "too deep": (
            Search(rank=_nested(65)), errors.InvalidArgumentError, "deeper than 64 levels",
        ),
        "far too deep": (
            Search(rank=_nested(400)), errors.InvalidArgumentError, "deeper than 64 levels",
        ),
        "too wide": (
            Search(rank={"$sum": [{"$val": 1}] * 1000}), errors.InvalidArgumentError,
            "more than 1000 operators and operands",
        ),
        "another dimension": (
            Search(rank=Knn(ORIGIN) + Knn([1.0, 2.0, 3.0])), errors.InvalidArgumentError,
            "Collection expecting embedding with dimension of 2, got 3",
        ),
        "no dimension": (
            Search(rank=Knn([])), errors.InvalidArgumentError,
            "Collection expecting embedding with dimension of 2, got 0",
        ),
        "a key without sparse vectors": (
            Search(rank=Knn(SPARSE, key="sp")), errors.InvalidArgumentError,
            "Cannot filter using metadata key 'sp' with type 'SparseVector' because indexing is "
            "disabled",
        ),
        "a limit below zero": (
            Search(rank=Knn(ORIGIN, limit=-1)), errors.MalformedRequestError,
            r"searches\[0\]\.rank\.\$knn\.limit: invalid value: integer `-1`, expected u32",
        ),
        "NaN": (
            Search(rank=Knn(ORIGIN) + float("nan")), errors.MalformedRequestError,
            r"searches\[0\]\.rank\.\$sum\[1\]\.\$val: invalid type: nan, expected f32",
        ),
        "an infinite query": (
            Search(rank=Knn([1e39, 0.0])), errors.InvalidArgumentError, "expected finite numbers",
        ),
        "groups without a rank": (
            Search(group_by=GroupBy("c", MinK(K.SCORE, 1))), errors.InvalidArgumentError,
            "group_by requires rank expression to be specified",
        ),
        "groups by score": (
            Search(rank=Knn(ORIGIN), group_by=GroupBy(K.SCORE, MinK(K.SCORE, 1))),
            errors.InvalidArgumentError, "group_by keys must be metadata fields",
        ),
        "aggregates of documents": (
            Search(rank=Knn(ORIGIN), group_by=GroupBy("c", MinK(K.DOCUMENT, 1))),
            errors.InvalidArgumentError, "aggregate keys must be metadata fields or #score",
        ),
        "groups of none": (
            Search(rank=Knn(ORIGIN), group_by=GroupBy("c", MinK(K.SCORE, 0))),
            errors.InvalidArgumentError, "aggregate k must be greater than 0",
        ),
        "an unknown filter": (
            Search(where=K("a").regex("x")), errors.MalformedRequestError,
            r"searches\[0\]\.filter: Invalid where clause",
        ),
        "a filter by a document's equality": (
            Search(where=K.DOCUMENT == "x"), errors.InvalidArgumentError,
            "Cannot filter using metadata key '#document' with type 'Str'",
        ),
        "NUL": (Search(where=K("a") == "\0"), errors.MalformedRequestError, "U\\+0000"),
        "no search": (5, TypeError, "searches must be Search objects, got int"),
    }  # fmt: skip


@pytest.mark.parametrize("case", Bad.CASES)
async def test_a_bad_search_is_refused_and_says_why(collection: Any, case: str) -> None:
    search, error, message = Bad.CASES[case]
    with pytest.raises(error, match=message):
        await collection.search(search)
    # One bad search refuses the whole batch, and nothing else.
    if isinstance(search, Search) and "searches\\[0" not in message:
        with pytest.raises(error, match=message):
            await collection.search([Search(), search])
    assert (await collection.search(Search()))["ids"] == [["a", "b", "c", "d", "e"]]


async def test_a_deleted_collection_is_not_found(mode: Any, collection: Any) -> None:
    await mode.delete_collection("searched")
    with pytest.raises(errors.NotFoundError):
        await collection.search(Search(rank=Knn(ORIGIN)))


async def test_a_disabled_index_refuses_filters(mode: Any) -> None:
    schema = Schema().delete_index(config=StringInvertedIndexConfig(), key="c")
    collection = await mode.create_collection("schemed", schema=schema, embedding_function=None)
    with pytest.raises(errors.InvalidArgumentError, match="because indexing is disabled"):
        await collection.search(Search(where=K("c") == "x"))
