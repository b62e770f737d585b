"""Filters mean the same with every index, without indexes, and with one that was dropped."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from pgchroma.model.filters import parse_where, parse_where_document
from pgchroma.store.layout.secondary import KINDS, SecondaryIndex, create_secondary
from pgchroma.store.resolved import ReadyIndexes
from tests.oracle import Record, matches, replace_records
from tests.planner.segments import context_of, create, index_for, quiet, tables, watched
from tests.strategies import text

LONG = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=4_000)))
KEYS = ["k", "a'b", 'a"b', "a%sb", "%(x)s", "{}", "a\\b", "ключ", "a b", "K", "é", "y" * 200]
INDEXES = [SecondaryIndex(kind, key) for key in KEYS for kind in KINDS[:2]]
INDEXES += [SecondaryIndex("elements"), SecondaryIndex("trigrams")]

# Beyond 2^53 floats compare as their shortest decimal form, so there are no integers here.
integers = st.integers(-3, 3) | st.sampled_from([2**53, -(2**53), 2**63 - 1, -(2**63)])
floats = st.sampled_from([0.0, 1.0, -1.0, 1.5, 1e22, 1e308, -1e308, 5e-324, 2.5e-5, 1.7e308])
texts = text | st.sampled_from(
    ["", "1", "true", "x" * 10_000, LONG, LONG + "x", "\n", "'", "A", "a"]
)
scalars = st.one_of(texts, st.booleans(), integers, floats)
lists = st.one_of(
    st.lists(texts, min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=1, max_size=3),
    st.lists(integers, min_size=1, max_size=3),
    st.lists(floats, min_size=1, max_size=3),
)
documents = (
    st.none() | st.text("abA\n%_\\", max_size=12) | st.sampled_from(["abcABC", "日本語の", LONG])
)

PATTERNS = [
    "{0}", "{0}*", "{0}?", "{0}+", "({0})?", "({0}){{0,2}}", "{0}|zzz", "zzz|{0}", "(?i){0}",
    "x?{0}", "[ab]{0}", "^{0}", "(?:{0}|b)a", "{0}.*{0}", "(?s){0}.{0}", "(?i:{0})b", "{0}(?:|c)",
]  # fmt: skip


@st.composite
def stored_records(draw: st.DrawFn) -> list[Record]:
    count = draw(st.integers(1, 7))
    metadata = st.dictionaries(st.sampled_from(KEYS[:4]) | st.sampled_from(KEYS), scalars | lists)
    return [
        Record(f"id{n}", [float(n)], draw(documents), None, draw(metadata)) for n in range(count)
    ]


@st.composite
def wheres(draw: st.DrawFn, stored: list[Record], depth: int = 1) -> dict[str, Any]:
    if depth and draw(st.integers(0, 3)) == 0:
        clauses = draw(st.lists(wheres(stored, depth - 1), min_size=2, max_size=3))
        return {draw(st.sampled_from(["$and", "$or"])): clauses}
    pairs = [(key, value) for record in stored for key, value in record.metadata.items()]
    key, value = draw(st.sampled_from([*pairs, ("k", 1)]))
    if isinstance(value, list):
        element = draw(st.sampled_from(value) | scalars)
        return {key: {draw(st.sampled_from(["$contains", "$not_contains"])): element}}
    operand = draw(st.just(value) | scalars)
    operators = ["$eq", "$ne", "$in", "$nin", "$contains"]
    if isinstance(operand, int | float) and not isinstance(operand, bool):
        operators += ["$gt", "$gte", "$lt", "$lte"] * 2
    operator = draw(st.sampled_from(operators))
    if operator in ("$in", "$nin"):
        same = scalars.filter(lambda other: type(other) is type(operand))
        return {key: {operator: [operand, *draw(st.lists(same, max_size=2))]}}
    return {key: {operator: operand}}


@st.composite
def where_documents(draw: st.DrawFn, stored: list[Record], depth: int = 1) -> dict[str, Any]:
    if depth and draw(st.integers(0, 3)) == 0:
        clauses = draw(st.lists(where_documents(stored, depth - 1), min_size=2, max_size=3))
        return {draw(st.sampled_from(["$and", "$or"])): clauses}
    document = draw(st.sampled_from([each.document for each in stored if each.document] or ["abc"]))
    first = draw(st.integers(0, len(document) - 1))
    needle = document[first : first + draw(st.integers(1, 5))]
    operator = draw(st.sampled_from(["$contains", "$not_contains", "$regex", "$not_regex"]))
    if operator.endswith("contains"):
        return {operator: draw(st.sampled_from([needle, needle.swapcase()]))}
    return {operator: draw(st.sampled_from(PATTERNS)).format(re.escape(needle))}


class Known:
    """A collection, and a client with a fixed belief about its indexes, true or not."""

    def __init__(self, url: str, name: str, believed: list[SecondaryIndex]) -> None:
        # So few rows are read one by one, unless that is forbidden.
        only_bitmaps = "-c enable_seqscan=off -c enable_indexscan=off -c enable_indexonlyscan=off"
        self.client = quiet(make_conninfo(url, options=only_bitmaps), pgchroma_pool_size=1)
        self.collection = self.client.get_collection(name, embedding_function=None)
        self.collection.get(where={"k": 1})
        known = context_of(self.client)
        (resolved,) = known._collections.values()
        indexes = ReadyIndexes(secondary=frozenset(believed))
        known.cache(replace(resolved, indexes=indexes, seen_at=float("inf")))


@pytest.fixture(scope="module")
def states(module_url: str) -> Iterator[dict[str, Known]]:
    """Collections without indexes and with all of them, and clients with a wrong belief."""
    with quiet(module_url) as client:
        for name in ("indexed", "plain"):
            collection = create(client, name)
            collection.add(ids="first", embeddings=[0.0])
            if name == "indexed":
                index_for(module_url, collection, *INDEXES)
    found = {
        "indexed": Known(module_url, "indexed", INDEXES),
        "unknown": Known(module_url, "indexed", []),
        "none": Known(module_url, "plain", []),
        "dropped": Known(module_url, "plain", INDEXES),
    }
    yield found
    for known in found.values():
        known.client.close()


def _store(states: dict[str, Known], stored: list[Record]) -> None:
    for name in ("indexed", "none"):
        replace_records(states[name].collection, stored)


@pytest.mark.heavy
@given(data=st.data())
def test_every_filter_agrees_with_the_oracle_whatever_indexes_there_are(
    states: dict[str, Known], data: st.DataObject
) -> None:
    stored = data.draw(stored_records())
    _store(states, stored)
    arguments: dict[str, Any] = {}
    expected: list[str] = []
    for turn in range(4):
        arguments = {}
        if turn % 2 == 0 or data.draw(st.integers(0, 3)) == 0:
            arguments["where"] = data.draw(wheres(stored))
        if turn % 2 or data.draw(st.integers(0, 3)) == 0:
            arguments["where_document"] = data.draw(where_documents(stored))
        trees = [
            tree
            for tree in (
                parse_where(arguments.get("where")),
                parse_where_document(arguments.get("where_document")),
            )
            if tree is not None
        ]
        expected = [each.id for each in stored if all(matches(each, tree) for tree in trees)]
        for name, state in states.items():
            got = state.collection.get(include=[], **arguments)["ids"]
            assert got == expected, name
            found = state.collection.query(query_embeddings=[0.0], include=[], **arguments)
            assert found["ids"] == [expected], name
    left = [record.id for record in stored if record.id not in expected]
    deleters = data.draw(st.sampled_from([("indexed", "none"), ("unknown", "dropped")]))
    for name in deleters:
        states[name].collection.delete(**arguments)
        assert states[name].collection.get(include=[])["ids"] == left, name


def test_values_that_fit_no_index_can_be_written(states: dict[str, Known]) -> None:
    values: list[Any] = [
        LONG * 5, "x" * 100_000, 1e308, 5e-324, -1.7976931348623157e308, 2**63 - 1,
        [LONG] * 5, list(range(2_000)), "", "\x01", True,
    ]  # fmt: skip
    records = [
        Record(
            f"id{n}", [float(n)], LONG * 30 if n == 0 else str(n), None, dict.fromkeys(KEYS, value)
        )
        for n, value in enumerate(values)
    ]
    _store(states, records)
    for state in states.values():
        for n, value in enumerate(values):
            if not isinstance(value, list):
                for key in KEYS[2:5]:
                    assert state.collection.get(where={key: value})["ids"] == [f"id{n}"]
        found = state.collection.get(where={"k": {"$contains": 1999}})
        assert found["ids"] == ["id7"]
        assert state.collection.get(where_document={"$contains": LONG[-9:] + LONG[:9]})["ids"] == [
            "id0"
        ]
        cases: tuple[tuple[Any, list[str]], ...] = (
            ({"$gt": 1e307}, ["id2"]),
            ({"$lt": 0}, ["id4"]),
            ({"$gte": 2**63 - 1}, ["id2", "id5"]),
            ({"$lte": 5e-324}, ["id3", "id4"]),
            ({"$in": [5e-324, 1e308]}, ["id2", "id3"]),
        )
        for ordered, expected in cases:
            assert state.collection.get(where={"a'b": ordered})["ids"] == expected


def test_the_indexes_are_really_used(states: dict[str, Known]) -> None:
    _store(states, [Record("id0", [0.0], "abcd", None, {"k": 1, "K": "x", "a b": ["x"]})])
    known = states["indexed"]
    with watched(known.client) as seen:
        for arguments in (
            {"where": {"k": {"$lt": 5}}},
            {"where": {"K": "x"}},
            {"where": {"a b": {"$contains": "x"}}},
            {"where_document": {"$contains": "abc"}},
        ):
            assert known.collection.get(**arguments)["ids"] == ["id0"]
            assert any("_by_" in name for name in seen.index_names()), arguments
    names = {create_secondary(tables(known.collection), index, "public").text for index in INDEXES}
    assert len(names) == len(INDEXES)
