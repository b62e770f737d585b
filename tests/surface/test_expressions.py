"""Search expressions: how each is encoded, and which are refused, both as in Chroma."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgchroma.execution.expression import (
    GroupBy,
    K,
    Knn,
    Limit,
    MinK,
    Rank,
    Rrf,
    Search,
    Select,
    Val,
    Where,
)
from pgchroma.model.sparse import SparseVector

KNN = {"$knn": {"query": [1.0, 2.0], "key": "#embedding", "limit": 16}}
SPARSE = {"#type": "sparse_vector", "indices": [1, 2], "values": [0.5, 0.25]}
RANK = Knn([1.0, 2.0])


@pytest.mark.parametrize(
    ("expression", "sent"),
    [
        (K("a") == 1, {"a": {"$eq": 1}}),
        (K("a") != 1, {"a": {"$ne": 1}}),
        (K("a") > 1, {"a": {"$gt": 1}}),
        (K("a") >= 1, {"a": {"$gte": 1}}),
        (K("a") < 1, {"a": {"$lt": 1}}),
        (K("a") <= 1, {"a": {"$lte": 1}}),
        (K("a").is_in([1]), {"a": {"$in": [1]}}),
        (K("a").not_in([1]), {"a": {"$nin": [1]}}),
        (K("a").contains("x"), {"a": {"$contains": "x"}}),
        (K("a").not_contains("x"), {"a": {"$not_contains": "x"}}),
        (K.DOCUMENT.regex("^a"), {"#document": {"$regex": "^a"}}),
        (K.DOCUMENT.not_regex("^a"), {"#document": {"$not_regex": "^a"}}),
        (
            (K("a") == 1) & (K("b") == 2) & (K("c") == 3),
            {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}, {"c": {"$eq": 3}}]},
        ),
        (
            (K("a") == 1) | ((K("b") == 2) | (K.ID == "c")),
            {"$or": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}, {"#id": {"$eq": "c"}}]},
        ),
        (RANK, KNN),
        (Knn(np.array([1.0, 2.0])), KNN),
        (
            Knn([1.0], key="sp", limit=3, default=2.0, return_rank=True),
            {"$knn": {"query": [1.0], "key": "sp", "limit": 3, "default": 2.0,
                      "return_rank": True}},
        ),
        (
            Knn(SparseVector([1, 2], [0.5, 0.25]), key="sp"),
            {"$knn": {"query": SPARSE, "key": "sp", "limit": 16}},
        ),
        (RANK + Val(2) + 3, {"$sum": [KNN, {"$val": 2}, {"$val": 3}]}),
        (2 + RANK, {"$sum": [{"$val": 2}, KNN]}),
        (RANK * 2 * 3, {"$mul": [KNN, {"$val": 2}, {"$val": 3}]}),
        (2 * RANK, {"$mul": [{"$val": 2}, KNN]}),
        (RANK - 2, {"$sub": {"left": KNN, "right": {"$val": 2}}}),
        (2 - RANK, {"$sub": {"left": {"$val": 2}, "right": KNN}}),
        (RANK / 2, {"$div": {"left": KNN, "right": {"$val": 2}}}),
        (2 / RANK, {"$div": {"left": {"$val": 2}, "right": KNN}}),
        (-RANK, {"$mul": [{"$val": -1}, KNN]}),
        (abs(RANK).exp().log(), {"$log": {"$exp": {"$abs": KNN}}}),
        (RANK.max(1).max(2), {"$max": [KNN, {"$val": 1}, {"$val": 2}]}),
        (RANK.min(1).max(2), {"$max": [{"$min": [KNN, {"$val": 1}]}, {"$val": 2}]}),
        (Search(), {"filter": None, "rank": None, "group_by": {}, "limit": {"offset": 0},
                    "select": {"keys": []}}),
        (
            Search().where(K("a") == 1).rank(RANK).limit(10, 5).select(K.DOCUMENT),
            {"filter": {"a": {"$eq": 1}}, "rank": KNN, "group_by": {},
             "limit": {"offset": 5, "limit": 10}, "select": {"keys": ["#document"]}},
        ),
        (
            Search({"a": 1}, KNN, {"keys": ["c"], "aggregate": {"$min_k": {"keys": ["#score"],
                                                                         "k": 3}}}, 7, ["title"]),
            {"filter": {"a": {"$eq": 1}}, "rank": KNN, "limit": {"offset": 0, "limit": 7},
             "group_by": {"keys": ["c"], "aggregate": {"$min_k": {"keys": ["#score"], "k": 3}}},
             "select": {"keys": ["title"]}},
        ),
        (
            GroupBy(K("c"), MinK(K.SCORE, 3)),
            {"keys": ["c"], "aggregate": {"$min_k": {"keys": ["#score"], "k": 3}}},
        ),
    ],
)  # fmt: skip
def test_expressions_are_sent_as_chroma_sends_them(expression: Any, sent: dict[str, Any]) -> None:
    assert expression.to_dict() == sent


def test_fused_ranks_are_sums_of_quotients() -> None:
    sent = Rrf([RANK, RANK], weights=[3, 1], normalize=True).to_dict()
    terms = sent["$mul"][1]["$sum"]
    assert sent["$mul"][0] == {"$val": -1}
    assert [term["$div"]["left"] for term in terms] == [{"$val": 0.75}, {"$val": 0.25}]
    assert terms[0]["$div"]["right"] == {"$sum": [{"$val": 60}, KNN]}


@pytest.mark.parametrize(
    "sent",
    [
        {"$and": [{"a": {"$in": [1]}}, {"$or": [{"b": {"$nin": [1]}}, {"c": {"$contains": 1}}]}]},
        {"#document": {"$regex": "a"}},
    ],
)
def test_filters_are_read_again(sent: dict[str, Any]) -> None:
    assert Where.from_dict(sent).to_dict() == sent


def test_ranks_are_read_again() -> None:
    written = (abs(RANK) * 2 - Val(1) / RANK.max(3)).to_dict()
    assert Rank.from_dict(written).to_dict() == written
    sparse = Knn(SparseVector([1, 2], [0.5, 0.25]), key="sp").to_dict()
    assert Rank.from_dict(sparse).to_dict() == sparse


def test_all_predefined_fields_are_selected() -> None:
    selected = Search().select_all().to_dict()["select"]["keys"]
    assert sorted(selected) == ["#document", "#embedding", "#metadata", "#score"]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Where.from_dict({}), ValueError("Where dict cannot be empty")),
        (lambda: Where.from_dict({"a": {"$bogus": 1}}), ValueError("Unknown operator: $bogus")),
        (lambda: Where.from_dict({"$and": []}), ValueError("$and requires at least one condition")),
        (lambda: Where.from_dict({"a": {"$in": 1}}), TypeError("$in requires a list, got int")),
        (lambda: Rank.from_dict({"$bogus": 1}), ValueError("Unknown rank operator: $bogus")),
        (lambda: Rank.from_dict({"$knn": {}}), ValueError("$knn requires 'query' field")),
        (
            lambda: Rank.from_dict({"$sum": [KNN]}),
            ValueError("$sum requires at least 2 ranks, got 1"),
        ),
        (lambda: Rrf([]).to_dict(), ValueError("RRF requires at least one rank")),
        (lambda: Rrf([RANK], k=0).to_dict(), ValueError("k must be positive, got 0")),
        (
            lambda: Rrf([RANK], weights=[1, 2]).to_dict(),
            ValueError("Number of weights (2) must match number of ranks (1)"),
        ),
        (
            lambda: Rrf([RANK], weights=[-1]).to_dict(),
            ValueError("All weights must be non-negative"),
        ),
        (
            lambda: Rrf([RANK], weights=[0], normalize=True).to_dict(),
            ValueError("Sum of weights must be positive when normalize=True"),
        ),
        (lambda: Search(limit=0), ValueError("Limit limit must be positive, got 0")),
        (
            lambda: Limit.from_dict({"offset": -1}),
            ValueError("Limit offset must be non-negative, got -1"),
        ),
        (
            lambda: Select.from_dict({"keys": [1]}),
            TypeError("Select key must be a string, got int"),
        ),
        (
            lambda: GroupBy.from_dict({"keys": ["a"]}),
            ValueError("GroupBy requires 'aggregate' field"),
        ),
        (
            lambda: Search(where=5),  # type: ignore[arg-type]
            TypeError("where must be a Where object, dict, or None, got int"),
        ),
        (
            lambda: K.DOCUMENT.contains(1),
            TypeError("$contains on #document requires a string pattern"),
        ),
    ],
)
def test_malformed_expressions_are_refused_as_chroma_refuses_them(
    make: Any, error: Exception
) -> None:
    with pytest.raises(type(error)) as raised:
        make()
    assert str(raised.value) == str(error)
