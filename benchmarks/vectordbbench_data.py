"""Clustered data as files that VectorDBBench reads, with the exact nearest records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scale.dataset import clustered_vectors
from scale.ground_truth import nearest

QUERIES = 1_000
NEIGHBOURS = 100
COMPARED = 100
"""How many queries are compared with all records at a time."""

ROW_GROUP = 10_000


@dataclass(frozen=True)
class Data:
    """A data set of VectorDBBench's kind, for distances by cosine."""

    place: Path
    size: int
    dimension: int


def make(directory: Path, size: int, dimension: int) -> Data:
    """Make the files if they do not exist: records, queries, and their nearest records."""
    data = Data(directory / f"{dimension}-{size}", size, dimension)
    if (data.place / "neighbors.parquet").exists():  # It is written last.
        return data
    print(f"making {size:,} records of {dimension} dimensions …", flush=True)
    data.place.mkdir(parents=True, exist_ok=True)
    draw = clustered_vectors(dimension)
    records, queries = draw(13, size), draw(14, QUERIES)
    _write(data.place / "train.parquet", "emb", records)
    _write(data.place / "test.parquet", "emb", queries)
    _write(data.place / "neighbors.parquet", "neighbors_id", _nearest(records, queries))
    return data


def _nearest(records: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the numbers of the nearest records; between unit vectors, l2 orders as cosine."""
    records, queries = _unit(records), _unit(queries)
    parts = [
        nearest(records, queries[first : first + COMPARED], count=NEIGHBOURS)
        for first in range(0, len(queries), COMPARED)
    ]
    return np.concatenate(parts)


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def _write(path: Path, column: str, rows: np.ndarray) -> None:
    ids = pa.array(np.arange(len(rows)))
    pq.write_table(pa.table({"id": ids, column: _lists(rows)}), path, row_group_size=ROW_GROUP)


def _lists(rows: np.ndarray) -> Sequence[object]:
    count, length = rows.shape
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    lists: Sequence[object] = pa.ListArray.from_arrays(offsets, rows.reshape(-1))
    return lists
