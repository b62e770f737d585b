"""LanceDB, in this process: an HNSW index on whole vectors, in one partition.

A table has a column for each metadata key. The scalar indexes are those that its documentation
advises for columns with many and with few values.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import Bitmap, BTree, HnswFlat

from scale.filters import Condition
from scale.peers.interface import EF_SEARCH

NAME = "bench"
N_RESULTS = 10
METADATA = {
    "n": pa.int64(),
    "category": pa.string(),
    "score": pa.float64(),
    "even": pa.bool_(),
    "tenth": pa.int64(),
    "percent": pa.int64(),
    "permille": pa.int64(),
}
COLUMNS = ["id", "document", *METADATA]
INDEXES = {"id": BTree, "n": BTree, "permille": BTree, "percent": Bitmap, "tenth": Bitmap}
OPERATORS = {"$eq": "=", "$gte": ">=", "$lt": "<"}


class Lance:
    """A table of a database in a directory."""

    biggest_batch = 5_000
    most_added = None
    many_processes = False
    searches_documents = False

    def __init__(self, directory: Path) -> None:
        self._database: Any = lancedb.connect(str(directory))
        self._ef_search = EF_SEARCH
        self._table: Any = None
        if NAME in self._database.list_tables().tables:
            self._table = self._database.open_table(NAME)

    def create(self, dimension: int) -> None:
        """Make the table."""
        vector = pa.list_(pa.float32(), dimension)
        columns = {"id": pa.string(), "vector": vector, "document": pa.string(), **METADATA}
        self._table = self._database.create_table(NAME, schema=pa.schema(list(columns.items())))

    def drop(self) -> None:
        """Drop the table."""
        self._database.drop_table(NAME)

    def add(self, batch: dict[str, Any]) -> None:
        """Add records as a table of Arrow."""
        schema = self._table.schema
        embeddings = np.ascontiguousarray(batch["embeddings"], np.float32)
        columns = {
            "id": batch["ids"],
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(embeddings.reshape(-1)), embeddings.shape[1]
            ),
            "document": batch["documents"],
            **{key: [metadata[key] for metadata in batch["metadatas"]] for key in METADATA},
        }
        self._table.add(pa.table(columns, schema=schema))

    load_rest = add

    def build_index(self) -> None:
        """Compact what the single adds have written, and build the indexes."""
        self._table.optimize()
        for column, index in INDEXES.items():
            self._table.create_index(column, config=index())
        config = HnswFlat(distance_type="l2", num_partitions=1, m=16, ef_construction=100)
        self._table.create_index("vector", config=config)

    def wait_until_indexed(self) -> None:
        """Do nothing: an index is complete as soon as it exists."""

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Not measured."""
        raise NotImplementedError

    def delete(self, ids: list[str]) -> None:
        """Not measured."""
        raise NotImplementedError

    def count(self) -> int:
        """Count the records."""
        return int(self._table.count_rows())

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a search by vector."""
        return lambda: [row["id"] for row in self._search(query).to_list()]

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return a search with a filter in SQL, which is applied before."""
        where = _sql(condition)
        return lambda: [row["id"] for row in self._search(query).where(where).to_list()]

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Return a search by all vectors."""

        def call() -> list[list[str]]:
            found: list[list[str]] = [[] for _ in queries]
            for row in self._search(queries, "query_index").to_list():
                found[row["query_index"]].append(row["id"])
            return found

        return call

    def get(self, condition: Condition) -> Callable[[], int]:
        """Not measured."""
        raise NotImplementedError

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Return a query by the ids' index."""
        where = f"id in ({', '.join(map(repr, ids))})"
        return lambda: len(self._table.search().where(where).select(COLUMNS).to_list())

    def set_ef_search(self, ef_search: int) -> None:
        """Keep the setting for each search."""
        self._ef_search = ef_search

    def limit(self, data: Any) -> float | None:
        """Return `None`: adding is the fastest way."""
        del data
        return None

    def close(self) -> None:
        """Do nothing: whatever an add has written is a version of the table."""

    def _search(self, query: np.ndarray, *more: str) -> Any:
        columns = [*COLUMNS, "_distance", *more]
        found = self._table.search(query, vector_column_name="vector").limit(N_RESULTS)
        return found.ef(self._ef_search).select(columns)


def _sql(condition: Condition) -> str:
    """Spell a condition of this benchmark as LanceDB does."""
    where = condition.where or {}
    parts = where.get("$and", [where])
    return " and ".join(
        f"{key} {OPERATORS[operator]} {value}"
        for part in parts
        for key, wanted in part.items()
        for operator, value in _compared(wanted)
    )


def _compared(wanted: Any) -> list[tuple[str, Any]]:
    return list(wanted.items()) if isinstance(wanted, dict) else [("$eq", wanted)]
