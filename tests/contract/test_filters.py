"""Filters on the records chroma-compatible answers were probed with: what each of them matches.

Where Chroma's own answer is wrong (a float operand is cut to an int, `#id` is taken for a
metadata key), the right one stands here; docs/compatibility.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pgchroma
from pgchroma import errors
from tests.sql.backend import SqlFunctionsBackend

RECORDS: dict[str, dict[str, Any] | None] = {
    "i1": {"k": 1},
    "i2": {"k": 2},
    "f1": {"k": 1.0},
    "f15": {"k": 1.5},
    "f19": {"k": 1.9},
    "bt": {"k": True},
    "bf": {"k": False},
    "s1": {"k": "1"},
    "sab": {"k": "abc"},
    "sAB": {"k": "ABC"},
    "se": {"k": ""},
    "mi": {"other": 1},
    "no": None,
    "ai": {"k": [1, 2]},
    "af": {"k": [1.5, 2.0]},
    "as": {"k": ["abc", "x"]},
    "ab": {"k": [True]},
    "neg": {"k": -1},
}
DOCUMENTS: dict[str, str | None] = {
    "i1": "The quick brown fox",
    "i2": "100% of foxes_",
    "f1": "the\nsecond line",
    "f15": "",
    "f19": "back\\slash",
    "bt": "Größe é",
}
ALL = set(RECORDS)


@pytest.fixture(scope="module", params=["direct", "sql"])
def collection(module_url: str, request: pytest.FixtureRequest) -> Iterator[pgchroma.Collection]:
    with pgchroma.PostgresClient(module_url) as client:
        if request.param == "sql":
            client._backend = SqlFunctionsBackend(client._backend, module_url)
        made = client.create_collection(f"filters-{request.param}")
        made.add(
            ids=list(RECORDS),
            embeddings=[[float(i)] for i in range(len(RECORDS))],
            metadatas=list(RECORDS.values()),
            documents=[DOCUMENTS.get(id) for id in RECORDS],
        )
        yield made


WHERE: list[tuple[Any, Any]] = [
    ({"k": 1}, {"i1", "f1"}),
    ({"k": 1.0}, {"i1", "f1"}),
    ({"k": True}, {"bt"}),
    ({"k": "1"}, {"s1"}),
    ({"k": "abc"}, {"sab"}),
    ({"k": ""}, {"se"}),
    ({"k": 1.5}, {"f15"}),
    ({"k": {"$eq": 1.9}}, {"f19"}),
    ({"k": {"$ne": 1}}, ALL - {"i1", "f1"}),
    ({"k": {"$ne": 1.5}}, ALL - {"f15"}),
    ({"k": {"$gt": 1}}, {"i2", "f15", "f19"}),
    ({"k": {"$gt": 1.5}}, {"i2", "f19"}),
    ({"k": {"$gte": 1.5}}, {"i2", "f15", "f19"}),
    ({"k": {"$lt": 1.5}}, {"i1", "f1", "neg"}),
    ({"k": {"$lte": 1.5}}, {"i1", "f1", "f15", "neg"}),
    ({"k": {"$gt": 1e308}}, set()),
    ({"k": {"$in": [1.5]}}, {"f15"}),
    ({"k": {"$in": ["abc", "x"]}}, {"sab"}),
    ({"k": {"$in": [True]}}, {"bt"}),
    ({"k": {"$nin": [1]}}, ALL - {"i1", "f1"}),
    ({"k": {"$nin": [True, False]}}, ALL - {"bt", "bf"}),
    ({"k": {"$contains": 1}}, {"ai"}),
    ({"k": {"$contains": 1.0}}, set()),
    ({"k": {"$contains": 2.0}}, {"af"}),
    ({"k": {"$contains": 2}}, {"ai"}),
    ({"k": {"$contains": "ab"}}, set()),
    ({"k": {"$contains": "abc"}}, {"as"}),
    ({"k": {"$contains": True}}, {"ab"}),
    ({"k": {"$not_contains": 2}}, ALL - {"ai"}),
    ({"nokey": {"$gt": 0}}, set()),
    ({"nokey": {"$eq": 1}}, set()),
    ({"nokey": {"$ne": 1}}, ALL),
    ({"nokey": {"$nin": [1]}}, ALL),
    ({"nokey": {"$not_contains": 1}}, ALL),
    ({"": 1}, set()),
    ({"": {"$ne": 1}}, ALL),
    ({"#id": "i1"}, {"i1"}),
    ({"#id": {"$ne": "i1"}}, ALL - {"i1"}),
    ({"#id": {"$in": ["i1", "i2", "zz"]}}, {"i1", "i2"}),
    ({"#id": {"$nin": ["i1"]}}, ALL - {"i1"}),
    ({"#id": 1}, set()),
    ({"#id": {"$gt": 1}}, set()),
    ({"#embedding": 1}, set()),
    ({"#document": {"$contains": "fox"}}, {"i1", "i2"}),
    ({"#document": {"$gt": 1}}, set()),
    ({"chroma:document": "back\\slash"}, {"f19"}),
    ({"$and": [{"k": {"$gte": 1}}, {"k": {"$lt": 2}}]}, {"i1", "f1", "f15", "f19"}),
    ({"$or": [{"k": "1"}, {"k": 2}, {"other": 1}]}, {"s1", "i2", "mi"}),
    ({"$and": [{"$or": [{"k": 1}, {"k": 2}]}, {"k": {"$ne": 2}}]}, {"i1", "f1"}),
]

WHERE_DOCUMENT: list[tuple[Any, Any]] = [
    ({"$contains": "fox"}, {"i1", "i2"}),
    ({"$contains": "Fox"}, set()),
    ({"$contains": "%"}, {"i2"}),
    ({"$contains": "_"}, {"i2"}),
    ({"$contains": "\\"}, {"f19"}),
    ({"$contains": "\n"}, {"f1"}),
    ({"$contains": "öß"}, {"bt"}),
    ({"$not_contains": "fox"}, ALL - {"i1", "i2"}),
    ({"$regex": "^[Tt]he"}, {"i1", "f1"}),
    ({"$regex": "^second"}, set()),
    ({"$regex": "(?m)^second"}, {"f1"}),
    ({"$regex": "(?i)FOX"}, {"i1", "i2"}),
    ({"$regex": "the.second"}, set()),
    ({"$regex": "(?s)the.second"}, {"f1"}),
    ({"$regex": r"\d+%"}, {"i2"}),
    ({"$regex": r"(?P<word>\bfox\b)"}, {"i1"}),
    ({"$not_regex": "fox"}, ALL - {"i1", "i2"}),
    ({"$and": [{"$contains": "fox"}, {"$not_contains": "quick"}]}, {"i2"}),
    ({"$or": [{"$contains": "quick"}, {"$regex": "slash$"}]}, {"i1", "f19"}),
]


def _id(value: object) -> str:
    # A set has another order in each process.
    return str(sorted(value) if isinstance(value, set) else value)[:60]


@pytest.mark.parametrize(("where", "expected"), WHERE, ids=_id)
def test_where_matches(
    collection: pgchroma.Collection, where: dict[str, Any], expected: set[str]
) -> None:
    got = collection.get(where=where)["ids"]
    assert got == [id for id in RECORDS if id in expected]
    found = collection.query(query_embeddings=[0.0], n_results=100, where=where)
    assert set(found["ids"][0]) == expected


@pytest.mark.parametrize(("where", "expected"), WHERE_DOCUMENT, ids=_id)
def test_where_document_matches(
    collection: pgchroma.Collection, where: Any, expected: set[str]
) -> None:
    assert set(collection.get(where_document=where)["ids"]) == expected


def test_both_filters_and_ids_are_joined_by_and(collection: pgchroma.Collection) -> None:
    got = collection.get(
        ids=["i1", "i2", "f1"],
        where={"k": {"$gte": 1}},
        where_document={"$contains": "fox"},
        include=[],
    )
    assert got["ids"] == ["i1", "i2"]


@pytest.mark.parametrize(
    "where",
    [{"#document": "x"}, {"#document": {"$ne": "x"}}, {"#document": {"$in": ["x"]}}],
)
def test_the_whole_document_cannot_be_compared(
    collection: pgchroma.Collection, where: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="'#document' with type 'Str'"):
        collection.get(where=where)


@pytest.mark.parametrize("pattern", ["[", "(", "(?=x)", r"(a)\1", "(?<=x)y", r"\K", "a{2,1}"])
def test_a_pattern_that_is_no_regex_of_rusts_is_refused(
    collection: pgchroma.Collection, pattern: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Regex syntax error"):
        collection.get(where_document={"$regex": pattern})


def test_a_slow_pattern_is_stopped_in_time(module_url: str) -> None:
    settings = pgchroma.Settings(pgchroma_regex_timeout=0.01)
    with pgchroma.PostgresClient(module_url, settings) as client:
        slow = client.create_collection("slow")
        slow.add(ids="1", embeddings=[1.0], documents="ab" * 4_000_000)
        with pytest.raises(errors.DeadlineExceededError, match="timeout"):
            slow.get(where_document={"$regex": "(a|b)*b(a|b){9}c"})
        with pytest.raises(errors.DeadlineExceededError, match="timeout"):
            slow.delete(where_document={"$regex": "(a|b)*b(a|b){9}c"})
        assert slow.get(where_document={"$contains": "ab"}, include=[])["ids"] == ["1"]
