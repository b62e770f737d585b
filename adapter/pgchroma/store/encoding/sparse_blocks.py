"""Blocks of sparse vectors between vectors and PostgreSQL's binary formats, a block at a time.

A vector has the weights of its terms; a block has, for each term, the weights of all its vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.sparse import (
    BLOCK_SLOTS,
    PART_DIMENSION,
    PackedVectors,
    pack_sparse,
    unpack_sparse,
)
from pgchroma.store.encoding.vectors import PackedArray

__all__ = (
    "BlockWeights",
    "TermCounts",
    "count_terms",
    "mask_slots",
    "transpose",
)

ROW_VALUES: Final = 128
"""The number of values in a row of rare terms; fewer would take longer to write, and more longer to
read. A row that is not much longer is stored without TOAST."""

MAX_RARE: Final = 64
"""A term of more values has a row of its own."""

MASKED: Final = -1e30
"""What is added to the sum of a removed vector. No sum of plain weights exceeds it."""


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The weights of a block, as columns in PostgreSQL's binary format.

    Attributes:
        rows: The row that each term belongs to, an ``int[]``.
        terms: The terms, a ``bigint[]``.
        vectors: The number of vectors with each term, an ``int[]``.
        greatest: The greatest weight of each term, a ``real[]``.
        weights: The weights of each term by slot, a ``sparsevec[]``.
    """

    rows: PackedArray
    terms: PackedArray
    vectors: PackedArray
    greatest: PackedArray
    weights: PackedArray


class TermCounts(NamedTuple):
    """How many vectors of a block have a term.

    Attributes:
        blocks: The number of the block.
        terms: The term.
        vectors: The number of vectors.
    """

    blocks: NDArray[np.int64]
    terms: NDArray[np.int64]
    vectors: NDArray[np.int64]


def transpose(rows: Sequence[Sequence[bytes | None]], sparsevec_oid: int) -> BlockWeights:
    """Return the weights of a block.

    Args:
        rows: The binary forms of the columns of each vector, in the order of their slots.
        sparsevec_oid: The object id of the type `sparsevec` in this database.
    """
    slots, terms, values = _values(rows)
    # The values of a term are in the order of slots already, and a stable sort keeps it.
    order = np.argsort(terms, kind="stable")
    slots, terms, values = slots[order], terms[order], values[order]
    firsts = np.flatnonzero(np.append(True, terms[1:] != terms[:-1])[: len(terms)])
    counts = np.diff(np.append(firsts, len(terms)))
    greatest = np.maximum.reduceat(values, firsts) if len(firsts) else values
    return BlockWeights(
        pack_numbers(_rows_of(counts), "int"),
        pack_numbers(terms[firsts], "bigint"),
        pack_numbers(counts, "int"),
        pack_numbers(greatest, "real"),
        pack_sparse(PackedVectors(counts, slots, values), BLOCK_SLOTS, sparsevec_oid),
    )


def _rows_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the row of each term, for the numbers of values of sorted terms."""
    is_frequent = counts > MAX_RARE
    parts = (np.cumsum(counts) - counts) // ROW_VALUES
    is_first = np.append(True, parts[1:] != parts[:-1])[: len(counts)]
    is_first |= is_frequent
    is_first[1:] |= is_frequent[:-1]
    rows: NDArray[np.int64] = np.cumsum(is_first) - 1
    return rows


def count_terms(rows: Sequence[Sequence[bytes | None]], blocks: Sequence[int]) -> TermCounts:
    """Count the terms of vectors, separately for each block.

    Args:
        rows: The binary forms of the columns of each vector.
        blocks: The block of each vector.
    """
    vectors, terms, _ = _values(rows)
    pairs = np.stack([np.array(blocks, np.int64)[vectors], terms])
    (found_blocks, found_terms), counts = np.unique(pairs, axis=1, return_counts=True)
    return TermCounts(found_blocks, found_terms, counts.astype(np.int64))


def mask_slots(slots: Sequence[Sequence[int]], sparsevec_oid: int) -> PackedArray:
    """Return the masks of blocks, a ``sparsevec[]``.

    Args:
        slots: For each block, the slots of its removed vectors, ascending and counted from 1.
        sparsevec_oid: The object id of the type `sparsevec` in this database.
    """
    counts = np.array([len(each) for each in slots], np.int64)
    dimensions = np.array([slot - 1 for each in slots for slot in each], np.int64)
    values = np.full(len(dimensions), MASKED, np.float32)
    return pack_sparse(PackedVectors(counts, dimensions, values), BLOCK_SLOTS, sparsevec_oid)


def _values(
    rows: Sequence[Sequence[bytes | None]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the row, the term and the value of each value of some vectors, part by part."""
    parts = [unpack_sparse(column) for column in zip(*rows, strict=True)]
    owners = [np.repeat(np.arange(len(rows)), part.counts) for part in parts]
    terms = [part.dimensions + number * PART_DIMENSION for number, part in enumerate(parts)]
    return (
        np.concatenate(owners),
        np.concatenate(terms),
        np.concatenate([part.values for part in parts]),
    )
