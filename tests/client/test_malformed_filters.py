"""The malformed filters Chroma was probed with: which exception each raises, and its words.

The client's own checks raise ValueError with Chroma's text. Filters that pass them are refused by
the parser with InvalidArgumentError, whose text starts as Chroma's and then gives the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pgchroma
from pgchroma.errors import InvalidArgumentError

NAN = float("nan")
OPERATORS = "$gt, $gte, $lt, $lte, $ne, $eq, $in, $nin, $contains, $not_contains"

ONE_OPERATOR = "Expected where to have exactly one operator, got {}"
A_DICT = "Expected where to be a dict, got {}"
A_VALUE = "Expected where value to be a str, int, float, or operator expression, got {}"
ONE_EXPRESSION = "Expected operator expression to have exactly one operator, got {}"
AN_OPERATOR = f"Expected where operator to be one of {OPERATORS}, got {{}}"
AN_OPERAND = (
    "Expected where operand value to be a str, int, float, bool, or list of those type, got {}"
)
A_LIST = (
    "Expected where operand value to be a non-empty list, and all values to be of the same type "
    "got {}"
)
A_NUMBER = "Expected operand value to be an int or a float for operator {}, got {}"
AN_LIST = "Expected operand value to be an list for operator {}, got {}"
CLAUSES = "Expected where value for $and or $or to be a list of where expressions, got {}"
TWO_CLAUSES = (
    "Expected where value for $and or $or to be a list with at least two where expressions, got {}"
)
A_KEY = "Expected where key to be a metadata field name or a logical operator ($and, $or), got {}"
A_MEMBER = "Expected operand value to be a str, int, float, or bool for operator $contains, got {}"

CLIENT: list[tuple[Any, str]] = [
    ({}, ONE_OPERATOR.format("{}")),
    ([], A_DICT.format("[]")),
    ("x", A_DICT.format("x")),
    (1, A_DICT.format(1)),
    (True, A_DICT.format(True)),
    ({"a": 1, "b": 2}, ONE_OPERATOR.format({"a": 1, "b": 2})),
    ({"k": None}, A_VALUE.format(None)),
    ({"k": []}, A_VALUE.format([])),
    ({"k": [1]}, A_VALUE.format([1])),
    ({"k": {}}, ONE_EXPRESSION.format({})),
    ({"k": {"$eq": 1, "$ne": 2}}, ONE_EXPRESSION.format({"$eq": 1, "$ne": 2})),
    ({"k": {"$bogus": 1}}, AN_OPERATOR.format("$bogus")),
    ({"k": {"eq": 1}}, AN_OPERATOR.format("eq")),
    ({"k": {"$eq": None}}, AN_OPERAND.format(None)),
    ({"k": {"$eq": []}}, A_LIST.format([])),
    ({"k": {"$eq": {}}}, AN_OPERAND.format({})),
    ({"k": {"$gt": "a"}}, A_NUMBER.format("$gt", "a")),
    ({"k": {"$gt": None}}, A_NUMBER.format("$gt", None)),
    ({"k": {"$gt": [1]}}, A_NUMBER.format("$gt", [1])),
    ({"k": {"$lt": "2020-01-01"}}, A_NUMBER.format("$lt", "2020-01-01")),
    ({"k": {"$in": 1}}, AN_LIST.format("$in", 1)),
    ({"k": {"$in": "a"}}, AN_LIST.format("$in", "a")),
    ({"k": {"$in": None}}, AN_LIST.format("$in", None)),
    ({"k": {"$in": {}}}, AN_LIST.format("$in", {})),
    ({"k": {"$in": []}}, A_LIST.format([])),
    ({"k": {"$in": [1, "a"]}}, A_LIST.format([1, "a"])),
    ({"k": {"$in": ["a", 1]}}, A_LIST.format(["a", 1])),
    ({"k": {"$in": [True, 1]}}, A_LIST.format([True, 1])),
    ({"k": {"$in": [1, 1.5]}}, A_LIST.format([1, 1.5])),
    ({"$and": {}}, CLAUSES.format({})),
    ({"$and": 1}, CLAUSES.format(1)),
    ({"$and": None}, CLAUSES.format(None)),
    ({"$and": []}, TWO_CLAUSES.format([])),
    ({"$and": [{"k": 1}]}, TWO_CLAUSES.format([{"k": 1}])),
    ({"$or": []}, TWO_CLAUSES.format([])),
    ({"$and": [1]}, TWO_CLAUSES.format([1])),
    ({"$and": [{}]}, TWO_CLAUSES.format([{}])),
    ({"$and": [None]}, TWO_CLAUSES.format([None])),
    ({"$and": [1, 2]}, A_DICT.format(1)),
    ({"$and": [{}, {}]}, ONE_OPERATOR.format({})),
    ({"$and": [{"k": 1}], "x": 1}, ONE_OPERATOR.format({"$and": [{"k": 1}], "x": 1})),
    ({"$or": "x"}, CLAUSES.format("x")),
    ({"$or": [{"k": 1}, {}]}, ONE_OPERATOR.format({})),
    ({"$not": {"k": 1}}, AN_OPERATOR.format("k")),
    ({"$nor": []}, A_VALUE.format([])),
    ({"$contains": "x"}, A_KEY.format("$contains")),
    ({"k": {"$regex": "a"}}, AN_OPERATOR.format("$regex")),
    ({"k": {"$not_regex": "a"}}, AN_OPERATOR.format("$not_regex")),
    ({"k": {"$regex": 1}}, AN_OPERATOR.format("$regex")),
    ({"#document": {"$regex": "fox"}}, AN_OPERATOR.format("$regex")),
    (
        {"#document": {"$contains": 1}},
        "Expected operand value to be a str for operator $contains on #document, got 1",
    ),
    ({"k": {"$contains": [1]}}, A_MEMBER.format([1])),
    ({"k": {"$contains": None}}, A_MEMBER.format(None)),
    ({"k": {"$contains": {}}}, A_MEMBER.format({})),
    ({"k": {"$and": []}}, AN_OPERATOR.format("$and")),
    ({"k": {"$or": [{"$eq": 1}]}}, AN_OPERATOR.format("$or")),
    ({5: 1}, "Expected where key to be a str, got 5"),
    ({"k": {"$exists": True}}, AN_OPERATOR.format("$exists")),
    ({"$and": [{"k": 1}, {"$contains": "x"}]}, A_KEY.format("$contains")),
    ({"k": {"$not": {"$eq": 1}}}, AN_OPERATOR.format("$not")),
]

PARSER: list[tuple[Any, str]] = [
    ({"k": {"$eq": [1]}}, "where.k.$eq: expected a str, a bool or a number, got [1]"),
    ({"k": {"$gt": True}}, "where.k.$gt: expected a number, got True"),
    ({"k": {"$in": [1, True]}}, "where.k.$in[1]: expected int, got True"),
    ({"k": {"$in": [None]}}, "where.k.$in[0]: expected a str, a bool or a number, got None"),
    ({"k": {"$in": [[1]]}}, "where.k.$in[0]: expected a str, a bool or a number, got [1]"),
    ({"k": {"$in": [{}]}}, "where.k.$in[0]: expected a str, a bool or a number, got {}"),
    ({"$not": {"$eq": 1}}, "where.$not: expected a key, $and or $or"),
    ({"$eq": 1}, "where.$eq: expected a key, $and or $or"),
    ({"$in": [1]}, "where.$in: expected a key, $and or $or"),
    ({"$nin": 1}, "where.$nin: expected a key, $and or $or"),
    ({"$gt": 1}, "where.$gt: expected a key, $and or $or"),
    ({"k": 9223372036854775808}, "where.k: 9223372036854775808 does not fit 64 bits"),
    ({"k": {"$eq": 9223372036854775808}}, "where.k.$eq: 9223372036854775808 does not fit"),
    ({"k": {"$in": [9223372036854775808]}}, "where.k.$in[0]: 9223372036854775808 does not fit"),
    ({"k": NAN}, "where.k: nan is not a finite number"),
    ({"k": {"$gt": float("inf")}}, "where.k.$gt: inf is not a finite number"),
    ({"$and": [{"k": 1}, {"k": {"$gt": True}}]}, "where.$and[1].k.$gt: expected a number"),
]

DOCUMENT_OPERATORS = (
    "$contains, $not_contains, $regex, $not_regex, $matches, $not_matches, $and, $or"
)
DOCUMENT_TEXT = "Expected where document operand value for operator {} to be a {}"
DOCUMENT_CLAUSES = "Expected document value for $and or $or to be a list "

DOCUMENT: list[tuple[Any, str]] = [
    ({}, "Expected where document to have exactly one operator, got {}"),
    ([], "Expected where document to be a dictionary, got []"),
    ("x", "Expected where document to be a dictionary, got x"),
    (1, "Expected where document to be a dictionary, got 1"),
    ({"$contains": 1}, DOCUMENT_TEXT.format("$contains", "str, got 1")),
    ({"$contains": None}, DOCUMENT_TEXT.format("$contains", "str, got None")),
    ({"$contains": ["a"]}, DOCUMENT_TEXT.format("$contains", "str, got ['a']")),
    ({"$contains": ""}, DOCUMENT_TEXT.format("$contains", "non-empty str")),
    ({"$regex": ""}, DOCUMENT_TEXT.format("$regex", "non-empty str")),
    ({"$not_contains": ""}, DOCUMENT_TEXT.format("$not_contains", "non-empty str")),
    ({"$not_regex": ""}, DOCUMENT_TEXT.format("$not_regex", "non-empty str")),
    *(
        (where, f"Expected where document operator to be one of {DOCUMENT_OPERATORS}, got {got}")
        for where, got in (
            ({"$bogus": "x"}, "$bogus"),
            ({"contains": "x"}, "contains"),
            ({"k": {"$contains": "x"}}, "k"),
            ({"$eq": "x"}, "$eq"),
        )
    ),
    (
        {"$contains": "a", "$regex": "b"},
        "Expected where document to have exactly one operator, got "
        "{'$contains': 'a', '$regex': 'b'}",
    ),
    ({"$and": {}}, DOCUMENT_CLAUSES + "of where document expressions, got {}"),
    ({"$or": 1}, DOCUMENT_CLAUSES + "of where document expressions, got 1"),
    ({"$and": []}, DOCUMENT_CLAUSES + "with at least two where document expressions, got []"),
    (
        {"$or": [{"$contains": "x"}]},
        DOCUMENT_CLAUSES + "with at least two where document expressions, got [{'$contains': 'x'}]",
    ),
    ({"$and": ["x", "y"]}, "Expected where document to be a dictionary, got x"),
    ({"$and": [{}, {}]}, "Expected where document to have exactly one operator, got {}"),
    ({"$regex": 1}, DOCUMENT_TEXT.format("$regex", "str, got 1")),
]


@pytest.fixture(scope="module")
def collection(module_url: str) -> Iterator[pgchroma.Collection]:
    with pgchroma.PostgresClient(module_url) as client:
        made = client.create_collection("malformed")
        made.add(ids="1", embeddings=[1.0], documents="d", metadatas={"k": 1})
        yield made


@pytest.mark.parametrize(("where", "message"), CLIENT, ids=lambda value: str(value)[:50])
def test_the_client_refuses(collection: pgchroma.Collection, where: Any, message: str) -> None:
    for call in (
        lambda: collection.get(where=where),
        lambda: collection.query(query_embeddings=[1.0], where=where),
        lambda: collection.delete(where=where),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value).startswith(f"{message} in ")
    assert collection.count() == 1


@pytest.mark.parametrize(("where", "message"), PARSER, ids=lambda value: str(value)[:50])
def test_the_parser_refuses_and_names_the_path(
    collection: pgchroma.Collection, where: Any, message: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        collection.get(where=where)
    assert str(caught.value).startswith(f"Invalid where clause: {message}")


@pytest.mark.parametrize("where", [{"k": 2**64}, {"k": {"$eq": 2**64}}])
def test_an_integer_no_json_can_carry_is_a_type_error(
    collection: pgchroma.Collection, where: Any
) -> None:
    with pytest.raises(TypeError, match="Integer exceeds 64-bit range"):
        collection.get(where=where)


@pytest.mark.parametrize("where", [{"": 1}, {"k": {"$gt": 1e308}}, {"k": -(2**63)}])
def test_odd_but_well_formed_filters_match_nothing(
    collection: pgchroma.Collection, where: Any
) -> None:
    assert collection.get(where=where)["ids"] == []


@pytest.mark.parametrize(("where", "message"), DOCUMENT, ids=lambda value: str(value)[:50])
def test_the_client_refuses_document_filters(
    collection: pgchroma.Collection, where: Any, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        collection.get(where_document=where)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(" in get.")


def test_a_pattern_with_a_fault_is_refused_by_the_parser(collection: pgchroma.Collection) -> None:
    with pytest.raises(InvalidArgumentError, match="Regex syntax error"):
        collection.get(where_document={"$regex": "["})


def test_filters_nest_deep_but_not_without_end(collection: pgchroma.Collection) -> None:
    def nested(depth: int) -> dict[str, Any]:
        where: dict[str, Any] = {"k": 1}
        for _ in range(depth):
            where = {"$and": [where, {"k": 1}]}
        return where

    assert collection.get(where=nested(100))["ids"] == ["1"]
    for depth in (250, 5_000):
        with pytest.raises(InvalidArgumentError, match="nest deeper than"):
            collection.get(where=nested(depth))
