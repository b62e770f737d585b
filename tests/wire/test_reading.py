"""Large bodies, which are read in parts, are decoded to the same values as small ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.errors import ChromaError, MalformedRequestError
from pgchroma.wire.embeddings import decode_request_embeddings
from pgchroma.wire.reading import LARGE, MAX_EMBEDDINGS, MAX_VALUES, read_body
from pgchroma.wire.reads import GetBody
from pgchroma.wire.search import QueryBody
from pgchroma.wire.writes import AddBody, UpdateBody, UpsertBody

BODIES: list[tuple[Any, Any]] = [
    (AddBody, {"ids": ["a", "b"], "embeddings": [[1, 2.5], [-1e-3, 4e38]], "uris": None}),
    (AddBody, {"ids": ["a", "b"], "embeddings": ["AACAPw==", "AACAPw=="]}),
    (AddBody, {"ids": [], "embeddings": []}),
    (AddBody, {"ids": ["a"], "embeddings": [[]], "metadatas": [{"k": [1, 2], "l": "x,[{"}]}),
    (AddBody, {"ids": ["a"]}),
    (AddBody, {"embeddings": []}),
    (AddBody, {"ids": "a", "embeddings": [[1]]}),
    (AddBody, {"ids": [1], "embeddings": [[1]]}),
    (AddBody, {"ids": ["a"], "embeddings": None}),
    (AddBody, {"ids": ["a"], "embeddings": {}}),
    (AddBody, {"ids": ["a"], "embeddings": "AACAPw=="}),
    (AddBody, {"ids": ["a"], "embeddings": [1, 2]}),
    (AddBody, {"ids": ["a"], "embeddings": [["1"]]}),
    (AddBody, {"ids": ["a"], "embeddings": [[[1]]]}),
    (AddBody, {"ids": ["a"], "embeddings": [[True]]}),
    (AddBody, {"ids": ["a"], "embeddings": [[1], None]}),
    (AddBody, {"ids": ["a"], "embeddings": [{}]}),
    (AddBody, []),
    (UpdateBody, {"ids": ["a", "b"], "embeddings": [None, [1]], "documents": [None, 'é\\"\n']}),
    (UpdateBody, {"ids": ["a"], "embeddings": None, "modality": "image", "unknown": [{}]}),
    (UpsertBody, {"ids": ["a"], "embeddings": [[1]], "modality": "smell"}),
    (GetBody, {"ids": None, "where": {"$and": [{"k": 1}]}, "limit": 5, "include": ["uris"]}),
    (GetBody, {"limit": -1}),
    (GetBody, {}),
    (QueryBody, {"query_embeddings": [[1, 2], [3, 4]], "n_results": None}),
    (QueryBody, {"query_embeddings": [None]}),
    (QueryBody, {"query_embeddings": ["AACAPw=="]}),
]


@pytest.mark.parametrize(("shape", "body"), BODIES)
def test_a_large_body_comes_to_what_a_small_one_does(shape: Any, body: Any) -> None:
    small = json.dumps(body).encode()
    # Escapes and spaces change nothing, wherever they stand.
    spaced = json.dumps(body, indent=2, ensure_ascii=True).replace("/", r"\/").encode()
    large = [small + b" " * LARGE, b"\n" * LARGE + spaced]
    assert {_read(text, shape) for text in large} == {_read(small, shape)}


@pytest.mark.parametrize(
    "end", [b"", b"}", b'{"ids":[}', b'{"ids":["a"],"embeddings":[]} {}', b'{"ids": ["a",]}']
)
def test_what_is_not_json_is_refused(end: bytes) -> None:
    for text in (end, b" " * (LARGE + 1) + end):
        with pytest.raises(ChromaError, match="Failed to parse the request body as JSON"):
            read_body(text, AddBody)


def test_values_are_counted_where_they_are_values() -> None:
    for unit in ("[{,", 'x"', "\\", '\\"', "\\\\,", ",\\"):
        for shift in range(3):
            text = json.dumps("," * shift + unit * MAX_VALUES)
            body = f'{{"where": {{"k": {text}}}}}'.encode()
            assert read_body(body, GetBody).where == {"k": json.loads(text)}
    for value in ("[]", "{}", "1", '"\\\\"', '"\\""'):
        listed = ",".join([value] * (MAX_VALUES + 1))
        with pytest.raises(ChromaError, match=f"where: expected at most {MAX_VALUES} values"):
            read_body(f'{{"where": [{listed}]}}'.encode(), GetBody)


def _read(text: bytes, shape: Any) -> str:
    try:
        read = msgspec.structs.asdict(read_body(text, shape))
    except ChromaError as error:
        return type(error).__name__
    for name in ("embeddings", "query_embeddings"):
        if isinstance(read.get(name), list):
            read[name] = [_plain(each) for each in read[name]]
    return repr(read)


def _plain(embedding: Any) -> Any:
    if embedding is None or isinstance(embedding, str):
        return embedding
    if isinstance(embedding, bytes):
        return base64.b64encode(embedding).decode()
    with np.errstate(over="ignore"):
        return np.array(embedding, dtype=np.float32).tolist()


TEXTS = [
    "AACAPw==",
    "AACAPwAAAEA=",
    "AACA",
    "AACAPw",
    "AACAPw=",
    "AACA=Pw==",
    "AACAPwAA=",
    "AACAfw==",
    "AADAfw==",
    "",
    "====",
    "AAC\\u0041Pw==",
    "AACAPw==\\n",
    "-ACAPw==",
    "é",
]


@pytest.mark.parametrize("last", [*TEXTS, None, [1.0]])
def test_base64_of_a_large_body_is_decoded_as_that_of_a_small_one(last: Any) -> None:
    for before in ([], ["AACAPw=="], [None], [[1.0]]):
        body = {"ids": ["a"] * (len(before) + 1), "embeddings": [*before, last]}
        small = json.dumps(body).replace("\\\\", "\\").encode()
        assert _embeddings(small + b" " * LARGE) == _embeddings(small)


def _embeddings(text: bytes) -> str:
    try:
        found = decode_request_embeddings(read_body(text, UpdateBody).embeddings)
    except ChromaError as error:
        return error.message()
    return repr([None if row is None else np.asarray(row, np.float32).tolist() for row in found])


ELEMENTS = st.one_of(
    st.binary(max_size=12).map(lambda raw: base64.b64encode(raw).decode()),
    st.lists(st.floats(width=32), max_size=3).map(
        lambda row: base64.b64encode(np.array(row, "<f4").tobytes()).decode()
    ),
    st.sampled_from(TEXTS),
    st.none(),
    st.lists(st.integers(-5, 5) | st.sampled_from([0.5, 1e39, True, "1"]), max_size=3),
    st.sampled_from([{}, 1, "a,b", "AACAPw==,AACAPw=="]),
)
VALID = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=2, max_size=2)


@given(
    st.sampled_from([AddBody, UpsertBody, UpdateBody]),
    st.lists(ELEMENTS, max_size=4)
    | st.lists(
        VALID.map(lambda row: base64.b64encode(np.array(row, "<f4").tobytes()).decode()), max_size=4
    ),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :")]),
)
def test_embeddings_are_those_of_a_body_decoded_as_texts(
    shape: Any, embeddings: list[Any], separators: tuple[str, str]
) -> None:
    body = {"ids": ["a"] * len(embeddings), "embeddings": embeddings}
    text = json.dumps(body, separators=separators).encode()
    expected = _outcome(lambda: msgspec.json.decode(text, type=shape))
    assert _outcome(lambda: read_body(text, shape)) == expected
    assert _outcome(lambda: read_body(text + b" " * LARGE, shape))[-1] == expected[-1]


def _outcome(read: Any) -> tuple[str, ...]:
    """Return the embeddings of a body, or its error."""
    try:
        rows = decode_request_embeddings(read().embeddings)
    except msgspec.ValidationError as error:
        words = f"Failed to deserialize the JSON body into the target type: {error}"
        return words, MalformedRequestError.__name__
    except ChromaError as error:
        return error.message(), type(error).__name__
    with np.errstate(over="ignore"):
        return (
            repr([None if row is None else np.array(row, np.float32).tolist() for row in rows]),
        )


@pytest.mark.parametrize("count", [1, 300])
def test_long_lists_of_base64_are_read_in_parts(count: int) -> None:
    rows = np.random.default_rng(3).random((count, 500), np.float32)
    texts: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in rows]
    space = b" " * LARGE
    found = read_body(json.dumps({"ids": [], "embeddings": texts}).encode() + space, AddBody)
    assert (decode_request_embeddings(found.embeddings) == rows).all()
    texts[-1] = None
    found = read_body(json.dumps({"ids": [], "embeddings": texts}).encode() + space, UpdateBody)
    assert [each is None for each in found.embeddings] == [False] * (count - 1) + [True]
    with pytest.raises(ChromaError, match=r"Expected `str \| array`, got `null`"):
        read_body(json.dumps({"ids": [], "embeddings": texts}).encode() + space, AddBody)


def test_a_text_that_is_too_long_is_refused() -> None:
    for length in (200_000, 200_004):
        body = json.dumps({"ids": ["a"], "embeddings": ["A" * length]}).encode() + b" " * LARGE
        if length == 200_000:
            assert len(read_body(body, AddBody).embeddings[0]) == 150_000
        else:
            with pytest.raises(ChromaError, match="at most 16000 numbers"):
                read_body(body, AddBody)


def test_too_many_texts_are_refused() -> None:
    for count in (MAX_EMBEDDINGS, MAX_EMBEDDINGS + 1):
        body = json.dumps({"ids": [], "embeddings": ["AAAA"] * count}).encode()
        if count == MAX_EMBEDDINGS:
            assert read_body(body, AddBody).embeddings == [b"\0\0\0"] * count
        else:
            with pytest.raises(ChromaError, match=f"at most {MAX_EMBEDDINGS} embeddings"):
                read_body(body, AddBody)
