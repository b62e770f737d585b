"""Filters use the indexes of metadata and documents that are there, and mean the same without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pgchroma
from pgchroma import K, Schema, Search
from pgchroma.compactor import planner
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.filters import parse_where, parse_where_document
from pgchroma.model.search.parsed import parse_search
from pgchroma.store.activity import Activity
from pgchroma.store.conditions.filters import FilterCompiler, requires_ids
from pgchroma.store.layout.secondary import (
    DEMAND_THRESHOLD,
    MAX_KEY_BYTES,
    SecondaryIndex,
    secondary_name,
)
from tests.oracle import Record, matches
from tests.planner.segments import (
    compact,
    context_of,
    create,
    index_for,
    nodes,
    quiet,
    record_demand,
    tables,
    watched,
)

ROWS = 3_000
HOSTILE = "a'b%s\\\"{x} é"
KEYS = ("n", "s", "b", HOSTILE)
INDEXES = {
    "number": SecondaryIndex("number", "n"),
    "text": SecondaryIndex("value", "s"),
    "bool": SecondaryIndex("value", "b"),
    "hostile": SecondaryIndex("value", HOSTILE),
    "hostile number": SecondaryIndex("number", HOSTILE),
    "elements": SecondaryIndex("elements"),
    "trigrams": SecondaryIndex("trigrams"),
}

USED: list[tuple[str, dict[str, Any]]] = [
    ("number", {"where": {"n": 5}}),
    ("number", {"where": {"n": {"$eq": 5.0}}}),
    ("number", {"where": {"n": {"$in": [5, 6]}}}),
    ("number", {"where": {"n": {"$gt": ROWS - 5}}}),
    ("number", {"where": {"n": {"$gte": ROWS - 5.5}}}),
    ("number", {"where": {"n": {"$lt": 5}}}),
    ("number", {"where": {"n": {"$lte": 5}}}),
    ("number", {"where": {"$and": [{"n": {"$gt": 5}}, {"n": {"$lt": 9}}]}}),
    ("number", {"where": {"n": 5}, "where_document": {"$contains": "5"}}),
    ("text", {"where": {"s": "s5"}}),
    ("text", {"where": {"s": {"$in": ["s5", "s6"]}}}),
    ("bool", {"where": {"b": True}}),
    ("bool", {"where": {"b": {"$in": [True]}}}),
    ("hostile", {"where": {HOSTILE: "h5"}}),
    ("hostile", {"where": {HOSTILE: {"$in": ["h5", "none"]}}}),
    ("hostile number", {"where": {HOSTILE: {"$gt": ROWS - 5}}}),
    ("elements", {"where": {"l": {"$contains": "e5"}}}),
    ("elements", {"where": {"i": {"$contains": 5}}}),
    ("trigrams", {"where_document": {"$contains": "word5 "}}),
    ("trigrams", {"where_document": {"$contains": "100%_\\"}}),
    ("trigrams", {"where_document": {"$regex": "word5 [a-z]+"}}),
    ("trigrams", {"where": {"#document": {"$contains": "word5 "}}}),
    ("trigrams", {"where_document": {"$contains": "word5 "}, "where": {"s": {"$ne": "s6"}}}),
]

UNUSED: list[dict[str, Any]] = [
    {"where": {"n": {"$ne": 5}}},
    {"where": {"n": {"$nin": [5, 6]}}},
    {"where": {"s": {"$ne": "s5"}}},
    {"where": {"s": {"$nin": ["s5"]}}},
    {"where": {"l": {"$not_contains": "e5"}}},
    {"where": {"b": {"$ne": True}}},
    {"where_document": {"$not_contains": "word5 "}},
    {"where_document": {"$not_regex": "word5 "}},
    {"where_document": {"$contains": "a"}},
]


def _stored() -> list[Record]:
    found = []
    for n in range(ROWS):
        metadata: dict[str, Any] = {
            "n": n if n % 2 else float(n),
            "s": f"s{n}",
            "b": n % 1000 == 0,
            HOSTILE: f"h{n}" if n % 3 else n,
            "l": [f"e{n}", "all"],
            "i": [n, -1],
        }
        document = None if n % 10 == 9 else f"a word{n} here" + " 100%_\\" * (n % 500 == 0)
        found.append(Record(f"id{n}", [float(n)], document, None, metadata))
    return found


@pytest.fixture(scope="module")
def stored() -> list[Record]:
    return _stored()


@pytest.fixture(scope="module")
def indexed(module_url: str, stored: list[Record]) -> Iterator[pgchroma.Collection]:
    """A collection with all the secondary indexes there are."""
    with quiet(module_url, pgchroma_pool_size=1) as client:
        collection = create(client)
        _add(collection, stored)
        index_for(module_url, collection, *INDEXES.values())
        yield collection


def _add(collection: pgchroma.Collection, stored: list[Record]) -> None:
    collection.add(
        ids=[record.id for record in stored],
        embeddings=[record.embedding or [] for record in stored],
        documents=[record.document for record in stored],
        metadatas=[record.metadata for record in stored],
    )


def _expected(stored: list[Record], arguments: dict[str, Any]) -> list[str]:
    where = parse_where(arguments.get("where"))
    where_document = parse_where_document(arguments.get("where_document"))
    trees = [tree for tree in (where, where_document) if tree is not None]
    return [each.id for each in stored if all(matches(each, tree) for tree in trees)]


def test_every_operator_uses_its_index(indexed: pgchroma.Collection, stored: list[Record]) -> None:
    with watched(indexed_client(indexed)) as seen:
        for kind, arguments in USED:
            name = secondary_name(tables(indexed), INDEXES[kind])
            expected = _expected(stored, arguments)
            assert expected, arguments
            assert indexed.get(include=[], **arguments)["ids"] == expected, arguments
            assert name in seen.index_names(), arguments
            found = indexed.query(query_embeddings=[0.0], n_results=ROWS, include=[], **arguments)
            assert found["ids"] == [expected], arguments
            assert name in seen.index_names(), arguments
        for arguments in UNUSED:
            assert indexed.get(include=[], **arguments)["ids"] == _expected(stored, arguments)
            assert not any("_by_" in name for name in seen.index_names()), arguments


def test_an_index_is_used_whatever_was_asked_before(indexed: pgchroma.Collection) -> None:
    name = secondary_name(tables(indexed), INDEXES["number"])
    with watched(indexed_client(indexed)) as seen:
        for turn in range(24):
            where: Any = {"n": {"$gte": 10 if turn < 12 else ROWS - 5}}
            indexed.get(where=where, include=[])
            assert turn < 12 or name in seen.index_names()
            indexed.query(query_embeddings=[0.0], where=where, include=[])
            assert turn < 12 or name in seen.index_names()


def test_a_long_list_is_looked_up_by_hashes_whatever_was_asked_before(
    url: str, stored: list[Record]
) -> None:
    # Without an index each record is compared; a plan for any list would compare with all of it.
    with quiet(url, pgchroma_pool_size=1) as client, watched(client) as seen:
        collection = create(client)
        _add(collection, stored[:100])
        for turn in range(14):
            for values in ([f"s{turn + n}" for n in range(9)], [turn + n for n in range(9)]):
                where: Any = {"s" if isinstance(values[0], str) else "n": {"$in": values}}
                assert len(collection.get(where=where)["ids"]) == 9
                assert not seen.is_generic
                assert len(collection.query(query_embeddings=[0.0], where=where)["ids"][0]) == 9
                assert not seen.is_generic
            # A statement without a list is planned once.
            collection.get(ids=["id1"])
        assert seen.is_generic


@pytest.mark.parametrize(
    "arguments",
    [
        {"ids": [f"id{n}" for n in range(10)]},
        {"ids": [f"id{n}" for n in range(10)], "limit": 5, "offset": 2},
        {"ids": [f"id{n}" for n in range(10)], "where": {"n": {"$gte": 0}}},
    ],
    ids=["ids", "page", "filter"],
)
@pytest.mark.parametrize("include", [["documents", "metadatas"], ["embeddings"]])
def test_ids_are_looked_up_by_their_index(
    url: str, stored: list[Record], arguments: Any, include: Any
) -> None:
    # A plan for all limits expects that a tenth of the rows are read.
    with quiet(url, pgchroma_pool_size=1) as client, watched(client) as seen:
        for count in (300, 1_000, ROWS):
            collection = create(client, f"papers{count}")
            _add(collection, stored[:count])
            for _ in range(12):
                collection.get(include=include, **arguments)
            assert seen.is_generic
            read = [node for node in nodes(seen.plans[-1]["Plan"]) if "records_" in _relation(node)]
            assert sum(node["Actual Rows"] for node in read) <= 10
            assert sum(node.get("Rows Removed by Filter", 0) for node in read) == 0


def test_ids_that_others_may_match_beside_end_no_page_late(url: str, stored: list[Record]) -> None:
    with quiet(url, pgchroma_pool_size=1) as client, watched(client) as seen:
        collection = create(client)
        _add(collection, stored)
        page = Search().where(K.ID.is_in(["id7", "id9"]) | (K("n") >= 0)).limit(5)
        for _ in range(12):
            assert len(collection.search(page)["ids"][0]) == 5
        read = [node for node in nodes(seen.plans[-1]["Plan"]) if "records_" in _relation(node)]
        assert sum(node["Actual Rows"] for node in read) <= 5


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"#id": "a"}, True),
        ({"#id": {"$in": ["a", "b"]}}, True),
        ({"#id": {"$ne": "a"}}, False),
        ({"n": 1}, False),
        ({"$and": [{"n": 1}, {"#id": "a"}]}, True),
        ({"$or": [{"n": 1}, {"#id": "a"}]}, False),
        ({"$or": [{"#id": "b"}, {"$and": [{"#id": "a"}, {"n": 1}]}]}, True),
    ],
)
def test_a_filter_may_require_ids(where: Any, expected: bool) -> None:
    filter = parse_search({"filter": where}, "search").filter
    assert filter is not None
    assert requires_ids(filter) == expected


def _relation(node: dict[str, Any]) -> str:
    return str(node.get("Relation Name", ""))


def test_deletes_use_an_index(url: str, stored: list[Record]) -> None:
    with quiet(url, pgchroma_pool_size=1) as client:
        collection = create(client)
        _add(collection, stored)
        index_for(url, collection, *INDEXES.values())
        left = {each.id for each in stored}
        with watched(client) as seen:
            for kind, arguments in USED:
                gone = set(_expected(stored, arguments)) & left
                collection.delete(**arguments)
                name = secondary_name(tables(collection), INDEXES[kind])
                assert name in seen.index_names(), arguments
                left -= gone
                assert collection.count() == len(left)
        assert set(collection.get(include=[])["ids"]) == left


def indexed_client(collection: pgchroma.Collection) -> Any:
    class Client:
        _backend = collection._backend

    return Client()


def _indexes(client: pgchroma.ClientAPI, collection: pgchroma.Collection) -> set[SecondaryIndex]:
    collection.get(where={"nothing": "x"})
    (resolved,) = context_of(client)._collections.values()
    return set(resolved.indexes.secondary)


def test_declared_keys_get_an_index(
    client: pgchroma.ClientAPI, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MIN_INDEXED", 100)
    schema = Schema()
    schema.create_index(config=pgchroma.StringInvertedIndexConfig(), key="title")
    schema.create_index(config=pgchroma.IntInvertedIndexConfig(), key="year")
    schema.create_index(config=pgchroma.FloatInvertedIndexConfig(), key="score")
    schema.create_index(config=pgchroma.BoolInvertedIndexConfig(), key="draft")
    collection = client.create_collection("declared", schema=schema, embedding_function=None)
    many = 3_000
    collection.add(
        ids=[f"id{n}" for n in range(many)],
        embeddings=np.ones((many, 2)),
        metadatas=[
            {"title": f"t{n}", "year": n, "score": n / 2, "draft": n == 7} for n in range(many)
        ],
    )
    compact(url, collection)
    assert _indexes(client, collection) == {
        SecondaryIndex("value", "title"),
        SecondaryIndex("number", "year"),
        SecondaryIndex("number", "score"),
        SecondaryIndex("value", "draft"),
    }
    with watched(client) as seen:
        wheres: list[Any] = [{"title": "t7"}, {"year": 7}, {"score": {"$lt": 1}}, {"draft": True}]
        for where in wheres:
            assert collection.get(where=where)["ids"]
            assert any("_by_" in name for name in seen.index_names()), where


def test_what_filters_keep_asking_for_gets_an_index(
    client: pgchroma.ClientAPI, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MIN_INDEXED", 100)
    collection = create(client)
    _add(collection, _stored()[:200])
    context_of(client).observed = observed = Activity()
    wheres: list[dict[str, Any]] = [
        {"where": {"n": {"$gt": 5}}},
        {
            "where": {
                "s": "s5",
            }
        },
        {"where": {"l": {"$contains": "e5"}}},
        {"where_document": {"$contains": "word5"}},
    ]
    for turn in range(DEMAND_THRESHOLD):
        for arguments in wheres:
            if turn % 2:
                collection.get(**arguments)
            else:
                collection.query(query_embeddings=[1.0], **arguments)
        # A filter used too rarely, or matched by nearly all records, gets no index.
        collection.get(where={"b": {"$ne": True}})
    collection.get(where={"i": 1})
    record_demand(url, observed)
    compact(url, collection)
    assert _indexes(client, collection) == {
        SecondaryIndex("number", "n"),
        SecondaryIndex("value", "s"),
        SecondaryIndex("elements"),
        SecondaryIndex("trigrams"),
    }


def test_filters_of_deletes_are_counted_and_those_of_inspections_are_not(
    client: pgchroma.ClientAPI,
) -> None:
    collection = create(client)
    _add(collection, _stored()[:200])
    context_of(client).observed = observed = Activity()
    for _ in range(DEMAND_THRESHOLD):
        collection.delete(where={"deleted": 1})
        collection.explain(query_embeddings=[1.0], where={"explained": 1})
        collection.recall(sample=2, where={"measured": 1})
    assert observed.drain().demanded == {(collection.id, SecondaryIndex("number", "deleted"))}


@pytest.mark.parametrize(
    "key",
    ["x" * 10_000, "".join(chr(33 + n * 7919 % 9_000) for n in range(4_000)), "k" * 64, "'" * 300],
    ids=["long", "long and not to be compressed", "an identifier's length", "quotes"],
)
def test_a_key_that_filters_keep_asking_for_may_be_long(
    client: pgchroma.ClientAPI, url: str, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(planner, "MIN_INDEXED", 10)
    collection = create(client)
    collection.add(
        ids=[f"id{n}" for n in range(50)],
        embeddings=np.ones((50, 2)),
        metadatas=[{key: n if n % 2 else f"s{n}"} for n in range(50)],
    )
    context_of(client).observed = observed = Activity()
    for _ in range(DEMAND_THRESHOLD):
        assert len(collection.get(where={key: {"$gt": 5}})["ids"]) == 22
        assert collection.get(where={key: "s4"})["ids"] == ["id4"]
        collection.get(where={"short": 1})
    record_demand(url, observed)
    compact(url, collection)
    assert len(collection.get(where={key: {"$gt": 5}})["ids"]) == 22
    assert collection.get(where={key: "s4"})["ids"] == ["id4"]
    indexes = _indexes(client, collection)
    assert SecondaryIndex("number", "short") in indexes
    # A longer one does not fit PostgreSQL's catalog before version 18.
    assert (SecondaryIndex("number", key) in indexes) == (len(key.encode()) <= MAX_KEY_BYTES)
    assert collection.get_indexing_status().error is None


def test_an_index_is_wanted_by_what_it_can_serve_alone() -> None:
    for where, expected in (
        ({"a": 1}, {SecondaryIndex("number", "a")}),
        ({"a": {"$in": [True]}}, {SecondaryIndex("value", "a")}),
        ({"a": {"$in": [1.5, 2]}}, {SecondaryIndex("number", "a")}),
        ({"a": {"$ne": 1}}, set()),
        ({"a": {"$not_contains": 1}}, set()),
        ({"#id": "a"}, set()),
        ({"#document": {"$contains": "abc"}}, {SecondaryIndex("trigrams")}),
        ({"#document": {"$contains": "ab"}}, set()),
        (
            {"$or": [{"a": 1}, {"b": "x"}]},
            {SecondaryIndex("number", "a"), SecondaryIndex("value", "b")},
        ),
    ):
        compiler = FilterCompiler(FilterableKeys(), frozenset())
        tree = parse_where(where)
        assert tree is not None
        compiler.compile(tree)
        assert compiler.candidates == expected, where
