"""The binary forms of sparse vectors and blocks, without a database."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.sparse import SparseVector, parse_sparse, round_values
from pgchroma.store.encoding.sparse import PART_DIMENSION, decode_sparse, encode_sparse
from pgchroma.store.encoding.sparse_blocks import (
    MAX_RARE,
    ROW_VALUES,
    _rows_of,
    count_terms,
    transpose,
)
from pgchroma.store.encoding.vectors import PackedArray

OID = 4711
TERMS = st.sampled_from([0, 1, 10**9 - 1, 10**9, 2**31, 2**32 - 1])
WEIGHTS = st.sampled_from([0.0, -0.0, 0.5, -1.0, 1e-45, 3e38, 1.25])
VECTORS = st.dictionaries(TERMS, WEIGHTS).map(
    lambda terms: parse_sparse(SparseVector(sorted(terms), [terms[t] for t in sorted(terms)]), "")
)
PLAIN = st.dictionaries(TERMS, st.sampled_from([0.5, 1.0, 1.25]), min_size=1)


def _elements(array: PackedArray) -> list[bytes | None]:
    """Return the elements of an array in PostgreSQL's binary format."""
    dimensions, has_null, _, length, lower = np.frombuffer(array, ">i4", 5).tolist()
    assert (dimensions, lower) == (1, 1)
    elements: list[bytes | None] = []
    at = 20
    for _ in range(length):
        (size,) = np.frombuffer(array, ">i4", 1, at).tolist()
        at += 4
        elements.append(None if size < 0 else bytes(array[at : at + size]))
        at += max(size, 0)
    assert at == len(array)
    assert has_null == (None in elements)
    return elements


@given(st.lists(st.none() | VECTORS, max_size=6))
def test_vectors_are_decoded_as_they_were_encoded(vectors: list[Any]) -> None:
    encoded = encode_sparse(vectors, "key", OID)
    columns = list(zip(*map(_elements, encoded.parts), strict=True))
    rows = [None if vector is None else row for vector, row in zip(vectors, columns, strict=True)]
    assert decode_sparse(rows, encoded.given) == [
        None if vector is None else round_values(vector) for vector in vectors
    ]
    assert encoded.are_plain == [
        vector is None or all(1e-12 <= value <= 1e12 for value in vector["values"])
        for vector in vectors
    ]


@given(st.lists(PLAIN, min_size=1, max_size=6))
def test_a_block_has_the_weights_of_its_vectors(vectors: list[dict[int, float]]) -> None:
    dictionaries = [
        {"indices": sorted(vector), "values": [vector[term] for term in sorted(vector)]}
        for vector in vectors
    ]
    columns = encode_sparse(dictionaries, "key", OID).parts
    rows = list(zip(*map(_elements, columns), strict=True))
    block = transpose(rows, OID)
    terms = [int.from_bytes(term or b"", "big") for term in _elements(block.terms)]
    assert terms == sorted({term for vector in vectors for term in vector})
    counts = [int.from_bytes(count or b"", "big") for count in _elements(block.vectors)]
    for term, count, weights in zip(terms, counts, _elements(block.weights), strict=True):
        words = np.frombuffer(weights or b"", ">i4")
        slots, values = words[3 : 3 + count], words[3 + count :].astype(np.int32)
        held = {slot: vector[term] for slot, vector in enumerate(vectors) if term in vector}
        assert dict(zip(slots.tolist(), values.view(np.float32).tolist(), strict=True)) == held
    counted = count_terms(rows, [7] * len(rows))
    assert set(counted.blocks.tolist()) == {7}
    assert dict(zip(counted.terms.tolist(), counted.vectors.tolist(), strict=True)) == dict(
        zip(terms, counts, strict=True)
    )


@given(st.lists(st.integers(1, 40), max_size=200))
def test_rare_terms_share_rows_and_frequent_ones_do_not(counts: list[int]) -> None:
    rows = _rows_of(np.array(counts, np.int64)).tolist()
    assert rows == sorted(rows)
    assert set(rows) == set(range(len(set(rows))))
    for row in set(rows):
        inside = [count for count, its_row in zip(counts, rows, strict=True) if its_row == row]
        assert len(inside) == 1 or max(inside) <= MAX_RARE
        assert len(inside) == 1 or sum(inside) <= ROW_VALUES + MAX_RARE


def test_a_part_has_a_greatest_length() -> None:
    long = {"indices": list(range(16_001)), "values": [1.0] * 16_001}
    with pytest.raises(InvalidArgumentError, match=r"metadatas\[1\]\.key: .* got 16001"):
        encode_sparse([None, long], "key", OID)
    split = {"indices": [n + PART_DIMENSION * (n > 8_000) for n in range(16_001)]}
    encode_sparse([split | {"values": [1.0] * 16_001}], "key", OID)
