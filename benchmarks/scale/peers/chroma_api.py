"""The peers with Chroma's interface: one program for pgchroma and chromadb."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scale.filters import Condition

NAME = "bench"
N_RESULTS = 10
POLL_SECONDS = 0.1


class ChromaApi:
    """A collection of a PersistentClient."""

    package: str
    many_processes: bool
    most_added = None
    searches_documents = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connect()

    def _connect(self) -> None:
        module = importlib.import_module(self.package)
        self._client: Any = module.PersistentClient(path=str(self._directory))
        self.biggest_batch = self._client.get_max_batch_size()
        self._collection: Any = None
        if self._client.count_collections():
            self._collection = self._client.get_collection(NAME, embedding_function=None)

    def create(self, dimension: int) -> None:
        """Create the collection; the first records set the dimension."""
        del dimension
        self._collection = self._client.create_collection(
            NAME, metadata={"hnsw:space": "l2"}, embedding_function=None
        )

    def drop(self) -> None:
        """Delete the collection."""
        self._client.delete_collection(NAME)

    def add(self, batch: dict[str, Any]) -> None:
        """Add records."""
        self._collection.add(**batch)

    load_rest = add

    def build_index(self) -> None:
        """Do nothing: both index automatically."""

    def wait_until_indexed(self) -> None:
        """Do nothing: Chroma indexes while it adds."""

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Replace embeddings."""
        self._collection.upsert(ids=ids, embeddings=embeddings)

    def delete(self, ids: list[str]) -> None:
        """Delete records."""
        self._collection.delete(ids=ids)

    def count(self) -> int:
        """Count the records."""
        return int(self._collection.count())

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a call of `query`."""
        return lambda: self._query(query)

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return a call of `query` with a filter."""
        filters = _filters(condition)
        return lambda: self._query(query, **filters)

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Return one call of `query`."""
        return lambda: self._collection.query(query_embeddings=queries, n_results=N_RESULTS)["ids"]

    def get(self, condition: Condition) -> Callable[[], int]:
        """Return a call of `get`."""
        filters = _filters(condition)
        return lambda: len(self._collection.get(**filters)["ids"])

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Return a call of `get`."""
        return lambda: len(self._collection.get(ids=ids)["ids"])

    def set_ef_search(self, ef_search: int) -> None:
        """Modify the collection."""
        self._collection.modify(configuration={"hnsw": {"ef_search": ef_search}})

    def limit(self, data: Any) -> float | None:
        """Return `None`: Chroma has no faster way."""
        del data
        return None

    def close(self) -> None:
        """Close the client, where it can be."""
        if hasattr(self._client, "close"):
            self._client.close()

    def _query(self, query: np.ndarray, **filters: Any) -> list[str]:
        found = self._collection.query(query_embeddings=[query], n_results=N_RESULTS, **filters)
        ids: list[str] = found["ids"][0]
        return ids


class Pgchroma(ChromaApi):
    """pgchroma, straight on its embedded PostgreSQL."""

    package = "pgchroma"
    many_processes = True

    def wait_until_indexed(self) -> None:
        """Ask for the status until all is indexed."""
        while self._collection.get_indexing_status().op_indexing_progress < 1:
            time.sleep(POLL_SECONDS)


class Chromadb(ChromaApi):
    """chromadb, in this process."""

    package = "chromadb"
    many_processes = False

    def set_ef_search(self, ef_search: int) -> None:
        """Modify the collection and reopen it: Chroma reads the setting with the index."""
        super().set_ef_search(ef_search)
        shared = importlib.import_module("chromadb.api.shared_system_client")
        shared.SharedSystemClient.clear_system_cache()
        self._connect()


def _filters(condition: Condition) -> dict[str, Any]:
    given = {"where": condition.where, "where_document": condition.where_document}
    return {name: filter for name, filter in given.items() if filter is not None}
