"""Batches are checked and encoded as their records are one by one: same values, same errors."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pgchroma.client.arguments.checks import _check_metadata, check_metadatas
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.metadata import parse_metadata, parse_metadatas
from pgchroma.model.plain import plain_scalar, shown
from pgchroma.model.records import MAX_ID_BYTES, RecordBatch, parse_ids
from pgchroma.model.sparse import SparseVector
from pgchroma.model.text import check_text
from pgchroma.store.encoding.metadata import encode_metadata, encode_metadatas
from pgchroma.store.encoding.text_arrays import pack_encoded, pack_texts
from pgchroma.store.encoding.vectors import pack_vectors


class _Text(str):
    __slots__ = ()


class _Number(int):
    pass


class _Member(StrEnum):
    ONE = "one"


TEXTS = st.sampled_from(["", "a", "null", "é", "日本", '"\\', "\\u0000", "1e16"])
PLAIN = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-7, 999999999999999.9, 1e15, 1e16, -1e22, 1.5e300]),
)
ODD = st.sampled_from([
    None, "\x00", "a\x00", "\ud800", "\ud83d\ude00", _Text("a"), _Member.ONE, np.str_("a"), 2**63,
    2**64 - 1, 2**64, -(2**63) - 1, _Number(3), np.int64(3), np.float32(0.1), np.bool_(True),
    float("nan"), float("inf"), -float("inf"), [], ["a"], [1, 2.5], [1, "a"], [True], ("a", "b"),
    ["\x00"], {}, {"indices": [1], "values": [0.5]}, SparseVector([1, 2], [0.1, 1e16]), b"a",
    object, {1}, [None],
])  # fmt: skip
KEYS = st.sampled_from(["a", "b", "c", "é", "k" * 300])
ODD_KEYS = st.sampled_from([
    "", "#a", "$a", "chroma:a", "chroma:document", "a\x00", "\ud800", _Text("a"), np.str_("b"),
    _Member.ONE, 1, None, True, "#" + "k" * 300,
])  # fmt: skip


def _metadata(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> Any:
    return st.dictionaries(keys, values, max_size=4)


METADATAS = st.lists(
    st.one_of(
        st.none(),
        _metadata(KEYS, PLAIN),
        _metadata(KEYS, PLAIN),
        _metadata(KEYS, PLAIN | ODD),
        _metadata(KEYS | ODD_KEYS, PLAIN),
        _metadata(KEYS, PLAIN).map(OrderedDict),
        st.sampled_from(["a", [], 1]),
    ),
    max_size=5,
)
PLAIN_METADATAS = st.lists(st.none() | _metadata(KEYS, PLAIN), max_size=5)


def _outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """Return what a call returns, with the types of all of it, or its error."""
    try:
        found = call()
    except Exception as error:
        return type(error), str(error)
    return (_typed(found),)


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value), [(_typed(key), _typed(element)) for key, element in value.items()]
    if isinstance(value, list):
        return type(value), [_typed(element) for element in value]
    return type(value), repr(value)


@pytest.mark.parametrize("removals", [False, True])
@given(metadatas=METADATAS | PLAIN_METADATAS)
def test_metadata_is_parsed_as_that_of_each_record(metadatas: list[Any], removals: bool) -> None:
    def one_by_one() -> list[Any]:
        return [
            None if each is None else parse_metadata(each, f"metadatas[{n}]", removals=removals)
            for n, each in enumerate(metadatas)
        ]

    expected = _outcome(one_by_one)
    assert _outcome(lambda: parse_metadatas(metadatas, removals=removals)) == expected


@given(PLAIN_METADATAS)
def test_parsed_metadata_is_a_copy(metadatas: list[Any]) -> None:
    parsed = parse_metadatas(metadatas)
    assert parsed == metadatas
    assert parsed is not metadatas
    pairs = zip(parsed, metadatas, strict=True)
    assert all(ours is None or ours is not theirs for ours, theirs in pairs)


@pytest.mark.parametrize("is_update", [False, True])
@given(metadatas=METADATAS | PLAIN_METADATAS)
def test_metadata_is_checked_as_that_of_each_record(metadatas: list[Any], is_update: bool) -> None:
    def one_by_one() -> None:
        for metadata in metadatas:
            _check_metadata(metadata, is_update)

    expected = _outcome(one_by_one)
    assert _outcome(lambda: check_metadatas(metadatas, is_update=is_update)) == expected


@given(st.lists(st.none() | _metadata(KEYS, PLAIN | ODD), max_size=5) | PLAIN_METADATAS)
def test_metadata_is_encoded_as_that_of_each_record(metadatas: list[Any]) -> None:
    try:
        clean = parse_metadatas(metadatas, removals=True)
    except (InvalidArgumentError, TypeError):
        return
    texts = [None if text is None else text.decode() for text in encode_metadatas(clean)]
    assert texts == [encode_metadata(metadata) for metadata in clean]


IDS = st.sampled_from([
    "a", "é", "i" * 650, "i" * 651, "i" * MAX_ID_BYTES, "i" * (MAX_ID_BYTES + 1), "é" * 1_300,
    "é" * 1_301, "日" * 800,
])  # fmt: skip
ODD_IDS = st.sampled_from(["", "\x00", "\ud800", _Text("a"), np.str_("a"), _Member.ONE, 1, None])


@given(st.lists(IDS | ODD_IDS, max_size=4) | st.lists(IDS, max_size=4))
def test_ids_are_parsed_as_one_by_one(ids: list[Any]) -> None:
    assert _outcome(lambda: parse_ids(ids)) == _outcome(lambda: _ids_one_by_one(ids))


def _ids_one_by_one(ids: list[Any]) -> list[str]:
    plain = [plain_scalar(id) for id in ids]
    for index, id in enumerate(plain):
        if not isinstance(id, str):
            raise InvalidArgumentError(f"ids[{index}]: expected a str, got {shown(id)}")
        if not id:
            raise InvalidArgumentError("Empty ID, ID must have at least one character")
        check_text(id, f"ids[{index}]")
        if len(id.encode()) > MAX_ID_BYTES:
            raise InvalidArgumentError(
                f"ids[{index}]: an id is longer than the {MAX_ID_BYTES} bytes an index can hold"
            )
    return plain


@given(st.lists(TEXTS | ODD, max_size=4) | st.lists(st.none() | TEXTS, max_size=4))
def test_documents_are_parsed_as_one_by_one(documents: list[Any]) -> None:
    ids = [f"{n}" for n in range(len(documents))]

    def parsed() -> Any:
        return RecordBatch.parse(ids, documents=documents).documents

    assert _outcome(parsed) == _outcome(lambda: _documents_one_by_one(documents))


def _documents_one_by_one(documents: list[Any]) -> list[str | None]:
    plain = [plain_scalar(text) for text in documents]
    for index, text in enumerate(plain):
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidArgumentError(f"documents[{index}]: expected a str, got {shown(text)}")
        check_text(text, f"documents[{index}]")
    return plain


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 5))))
def test_vectors_are_packed_as_one_by_one(matrix: np.ndarray[Any, Any]) -> None:
    count, dimension = matrix.shape
    elements = [
        struct.pack(f">iHH{dimension}f", 4 + 4 * dimension, dimension, 0, *map(float, row))
        for row in matrix
    ]
    header = struct.pack(">iiIii", 1, 0, 4711, count, 1)
    assert bytes(pack_vectors(matrix, 4711)) == header + b"".join(elements)
    if dimension > 1:
        # A slice of the columns is not contiguous.
        part = matrix[:, 1:]
        assert pack_vectors(part, 4711) == pack_vectors(part.copy(), 4711)


@given(st.lists(st.none() | TEXTS))
def test_texts_are_packed_the_same_in_utf_8(texts: list[str | None]) -> None:
    assert pack_texts(texts) == pack_encoded(
        [None if text is None else text.encode() for text in texts]
    )
