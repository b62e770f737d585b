"""Hypothesis strategies: records with hostile keys, and filters drawn from the records' own."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.oracle import Record

HOSTILE = [
    "k", "a.b", "a'b", 'a"b', "a%sb", "%(x)s", "{}", ".$k", "a\\b", "\U0001f600", "ключ", "a b",
    "--", "; drop table x", "0", "null", "x" * 10_000, "é", "e\u0301", "K", "\n", "[0]",
]  # fmt: skip

text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
) | st.sampled_from(["abc", "ABC", "%", "_", "\\", "1", "true", "日本"])
keys = st.sampled_from(HOSTILE) | text.filter(
    lambda key: bool(key) and key[0] not in "#$" and not key.startswith("chroma:")
)
# Floats whose shortest decimal form is not their exact value compare as that form, beyond 2^53.
integers = st.integers(-(2**53), 2**53) | st.integers(-3, 3)
floats = st.floats(-1e15, 1e15, allow_nan=False) | st.sampled_from([0.0, 1.0, -1.0, 1.5, 1e22])
scalars = st.one_of(text, st.booleans(), integers, floats.map(lambda f: f + 0.0))
lists = st.one_of(
    st.lists(text, min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=1, max_size=3),
    st.lists(integers, min_size=1, max_size=3),
    st.lists(floats.map(lambda f: f + 0.0), min_size=1, max_size=3),
)
metadata = st.dictionaries(keys, st.one_of(scalars, lists), max_size=4)


def _is_short(key: str) -> bool:
    return len(key) < 1_000


@st.composite
def records(draw: st.DrawFn, most: int = 8) -> list[Record]:
    """Some records with distinct ids."""
    ids = draw(
        st.lists(text.filter(bool) | keys.filter(_is_short), unique=True, min_size=1, max_size=most)
    )
    documents = st.none() | text | st.text("ab\n%_\\", max_size=6)
    return [Record(id, [0.0], draw(documents), None, draw(metadata)) for id in ids]


@st.composite
def wheres(draw: st.DrawFn, stored: list[Record], depth: int = 2) -> dict[str, Any]:
    """A metadata filter about keys and values that some of the records have."""
    if depth and draw(st.integers(0, 3)) == 0:
        clauses = draw(st.lists(wheres(stored, depth - 1), min_size=2, max_size=3))
        return {draw(st.sampled_from(["$and", "$or"])): clauses}
    pairs = [(key, value) for record in stored for key, value in record.metadata.items()]
    pairs.append(("#id", stored[0].id))
    key, value = draw(st.sampled_from(pairs)) if draw(st.booleans()) else (draw(keys), None)
    return {key: draw(_expressions(value))}


@st.composite
def where_documents(draw: st.DrawFn, stored: list[Record], depth: int = 2) -> dict[str, Any]:
    """A document filter about texts that some of the documents have."""
    if depth and draw(st.integers(0, 3)) == 0:
        clauses = draw(st.lists(where_documents(stored, depth - 1), min_size=2, max_size=3))
        return {draw(st.sampled_from(["$and", "$or"])): clauses}
    documents = [record.document for record in stored if record.document] or ["a"]
    document = draw(st.sampled_from(documents))
    first = draw(st.integers(0, len(document)))
    needle = document[first : first + draw(st.integers(1, 4))] or "a"
    return {draw(st.sampled_from(["$contains", "$not_contains"])): needle}


@st.composite
def _expressions(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, list):
        operator = draw(st.sampled_from(["$contains", "$not_contains"]))
        return {operator: draw(st.sampled_from(value) | scalars)}
    operand = draw(scalars) if value is None else draw(st.just(value) | scalars)
    operators = ["$eq", "$ne", "$in", "$nin", "$contains", "$not_contains"]
    if isinstance(operand, int | float) and not isinstance(operand, bool):
        operators += ["$gt", "$gte", "$lt", "$lte"]
    operator = draw(st.sampled_from(operators))
    if operator in ("$in", "$nin"):
        same = scalars.filter(lambda other: type(other) is type(operand))
        return {operator: [operand, *draw(st.lists(same, max_size=2))]}
    return {operator: operand}
