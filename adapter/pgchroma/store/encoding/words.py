"""The sparse vectors of documents, made of their words.

The weight of a word is that of BM25 without the inverse document frequency:
``n (k + 1) / (n + k (1 - b + b length / average))``, where the document has `length` words and `n`
times this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pgchroma.store.encoding.sparse import PART_DIMENSION, PackedVectors, pack_sparse
from pgchroma.store.encoding.vectors import PackedArray

__all__ = ("K1", "B", "count_words", "encode_words")

K1: Final = 1.2
B: Final = 0.75

_TIMES_BITS: Final = 9
"""A `tsvector` counts a word up to 256 times."""

_HEADER_BYTES: Final = 20
_ELEMENT: Final = np.dtype([("bytes", ">i4"), ("value", ">i8")])


def count_words(words: bytes | None) -> int:
    """Return the number of words in the form that `encode_words` takes."""
    return 0 if words is None else (len(words) - _HEADER_BYTES) // _ELEMENT.itemsize


def encode_words(
    words: Sequence[bytes | None], average_length: int, sparsevec_oid: int
) -> PackedArray:
    """Return the vectors of documents, a ``sparsevec[]``.

    Args:
        words: For each document, the binary form of a ``bigint[]`` with ``term << 9 | times`` of
            each of its words; `None` if it has none.
        average_length: The number of words of an average document.
        sparsevec_oid: The object id of the type `sparsevec` in this database.
    """
    elements = [b"" if data is None else data[_HEADER_BYTES:] for data in words]
    values = np.frombuffer(b"".join(elements), _ELEMENT)["value"].astype(np.int64)
    owners = np.repeat(np.arange(len(words)), list(map(count_words, words)))
    terms, times = values >> _TIMES_BITS, values & ((1 << _TIMES_BITS) - 1)
    lengths = np.bincount(owners, times, len(words))
    order = np.lexsort((terms, owners))
    owners, terms, times = owners[order], terms[order], times[order]
    # Words that share a term count as one.
    is_first = np.append(True, (owners[1:] != owners[:-1]) | (terms[1:] != terms[:-1]))
    firsts = np.flatnonzero(is_first[: len(terms)])
    totals = np.add.reduceat(times, firsts) if len(firsts) else times
    owners, terms, counts = owners[firsts], terms[firsts], totals.astype(np.float64)
    norm = 1 - B + B * lengths[owners] / average_length
    weights = counts * (K1 + 1) / (counts + K1 * norm)
    vectors = PackedVectors(
        np.bincount(owners, minlength=len(words)), terms, weights.astype(np.float32)
    )
    return pack_sparse(vectors, PART_DIMENSION, sparsevec_oid)
