"""Qdrant Edge: Qdrant's engine in this process, with its defaults of 16 edges and ef_construct 100.

A point's id is the number in the record's id: Qdrant takes numbers and UUIDs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HnswIndexConfig,
    MatchValue,
    PayloadSchemaType,
    Point,
    Query,
    QueryBatchRequest,
    QueryRequest,
    RangeFloat,
    SearchParams,
    UpdateOperation,
)

from scale.filters import Condition
from scale.peers.interface import EF_SEARCH

N_RESULTS = 10
PREFIX = "id-"
KEYS = ("n", "tenth", "percent", "permille")
HNSW = HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000)


class Qdrant:
    """A shard in a directory of its own."""

    biggest_batch = 5_000
    most_added = None
    many_processes = False
    searches_documents = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "shard"
        self._ef_search = EF_SEARCH
        self._shard: Any = None
        if self._directory.exists():
            self._shard = EdgeShard.load(str(self._directory))

    def create(self, dimension: int) -> None:
        """Make the shard."""
        vectors = EdgeVectorParams(dimension, Distance.Euclid)
        self._directory.mkdir()
        self._shard = EdgeShard.create(
            str(self._directory), EdgeConfig(vectors=vectors, hnsw_config=HNSW)
        )

    def drop(self) -> None:
        """Delete the shard."""
        self.close()
        shutil.rmtree(self._directory)

    def add(self, batch: dict[str, Any]) -> None:
        """Add records as points."""
        rows = zip(
            batch["ids"],
            batch["embeddings"].tolist(),
            batch["documents"],
            batch["metadatas"],
            strict=True,
        )
        points = [
            Point(_number(id), embedding, {"document": document, **metadata})
            for id, embedding, document, metadata in rows
        ]
        self._shard.update(UpdateOperation.upsert_points(points))

    load_rest = add

    def build_index(self) -> None:
        """Build the indexes of keys first, which HNSW takes into account."""
        for key in KEYS:
            index = UpdateOperation.create_field_index(key, PayloadSchemaType.Integer)
            self._shard.update(index)
        self._shard.optimize()
        self._shard.flush()

    def wait_until_indexed(self) -> None:
        """Do nothing: `optimize` returns when it is done."""

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Not measured."""
        raise NotImplementedError

    def delete(self, ids: list[str]) -> None:
        """Not measured."""
        raise NotImplementedError

    def count(self) -> int:
        """Count the records."""
        return int(self._shard.count(CountRequest()))

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a query."""
        return lambda: _ids(self._shard.query(self._request(query)))

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return a query with a filter."""
        wanted = _filter(condition)
        return lambda: _ids(self._shard.query(self._request(query, wanted)))

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Return a batch of queries."""

        def call() -> list[list[str]]:
            batch = QueryBatchRequest([self._request(query) for query in queries])
            return [_ids(points) for points in self._shard.query_batch(batch)]

        return call

    def get(self, condition: Condition) -> Callable[[], int]:
        """Not measured."""
        raise NotImplementedError

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Return a call that retrieves points."""
        numbers = [_number(id) for id in ids]

        def call() -> int:
            found = self._shard.retrieve(numbers, with_payload=True, with_vector=False)
            return len([record.payload for record in found])

        return call

    def set_ef_search(self, ef_search: int) -> None:
        """Keep the setting for each query."""
        self._ef_search = ef_search

    def limit(self, data: Any) -> float | None:
        """Return `None`: adding is the fastest way."""
        del data
        return None

    def close(self) -> None:
        """Close the shard."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _request(self, query: np.ndarray, wanted: Filter | None = None) -> QueryRequest:
        return QueryRequest(
            limit=N_RESULTS,
            query=Query.Nearest(query.tolist()),
            with_payload=True,
            filter=wanted,
            params=SearchParams(hnsw_ef=self._ef_search),
        )


def _number(id: str) -> int:
    return int(id.removeprefix(PREFIX))


def _ids(points: list[Any]) -> list[str]:
    """Read the payloads, as all peers do; return the ids."""
    return [f"{PREFIX}{point.id:07d}" for point in points if point.payload]


def _filter(condition: Condition) -> Filter:
    """Spell a condition of this benchmark as Qdrant does."""
    where = condition.where or {}
    ranges: dict[str, dict[str, float]] = {}
    conditions = []
    for part in where.get("$and", [where]):
        for key, wanted in part.items():
            if isinstance(wanted, dict):
                bounds = {operator.removeprefix("$"): float(n) for operator, n in wanted.items()}
                ranges.setdefault(key, {}).update(bounds)
            else:
                conditions.append(FieldCondition(key, match=MatchValue(wanted)))
    conditions += [FieldCondition(key, range=RangeFloat(**ranges[key])) for key in ranges]
    return Filter(must=conditions)
