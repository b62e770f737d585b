"""Packing embeddings for PostgreSQL: a batch at a time, and one by one with the pgvector package.

Run by ``make bench-packing``. Both produce pgvector's binary format, but only pgchroma's result is
one array, as a statement takes it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from pgchroma.store.encoding.vectors import pack_vectors, unpack_vectors
from tables import table

SHAPES = ((1, 384), (100, 384), (1_000, 384), (1_000, 1_536))
ROUNDS = 15


def main() -> None:
    """Measure packing and unpacking in turns, and print the medians."""
    rows = []
    for count, dimension in SHAPES:
        matrix = np.random.default_rng(7).random((count, dimension), dtype=np.float32)
        binary = [Vector(row).to_binary() for row in matrix]
        ours, theirs = _medians(partial(pack_vectors, matrix, 1), partial(_pack, matrix))
        read, read_theirs = _medians(
            partial(unpack_vectors, binary, dimension), partial(_unpack, binary)
        )
        shape = f"{count:,} × {dimension:,}"
        rows.append((shape, "pack", _us(ours), _us(theirs), f"{theirs / ours:.1f}"))
        rows.append((shape, "unpack", _us(read), _us(read_theirs), f"{read_theirs / read:.1f}"))
    print(table(("embeddings", "", "pgchroma, µs", "pgvector, µs", "ratio"), 2, rows))


def _pack(matrix: NDArray[np.float32]) -> list[bytes]:
    return [Vector(row).to_binary() for row in matrix]


def _unpack(binary: list[bytes]) -> NDArray[np.float32]:
    return np.stack([Vector.from_binary(vector).to_numpy() for vector in binary])


def _medians(*calls: Callable[[], object]) -> list[float]:
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, seconds in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
    return [statistics.median(seconds) for seconds in times]


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


if __name__ == "__main__":
    main()
