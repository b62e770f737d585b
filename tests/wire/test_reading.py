"""Large bodies, which are read in parts, are decoded to the same values as small ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from pgchroma.errors import ChromaError
from pgchroma.wire.embeddings import decode_request_embeddings
from pgchroma.wire.reading import LARGE, MAX_VALUES, read_body
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
