"""The interface of all peers, in the terms of Chroma's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from scale.filters import Condition

EF_SEARCH = 100
"""Chroma's default; M is 16 and ef_construction 100."""


class Peer(Protocol):
    """One collection of one peer, in its own directory."""

    biggest_batch: int
    """How many records an add takes at most."""

    most_added: int | None
    """How many records to add when loading; the rest is copied. `None` means all."""

    many_processes: bool
    """Whether several processes may work on its directory."""

    searches_documents: bool
    """Whether a search may have a filter by documents."""

    def create(self, dimension: int) -> None:
        """Make the collection, with distances by l2."""

    def drop(self) -> None:
        """Delete the collection."""

    def add(self, batch: dict[str, Any]) -> None:
        """Add records: ids, embeddings, documents and metadatas."""

    def load_rest(self, batch: dict[str, Any]) -> None:
        """Load records directly into the peer's storage, if adding them all takes too long."""

    def build_index(self) -> None:
        """Create the index, if it is created after loading."""

    def wait_until_indexed(self) -> None:
        """Wait until everything is indexed, where that happens in the background."""

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Replace the embeddings of records which are there."""

    def delete(self, ids: list[str]) -> None:
        """Delete records."""

    def count(self) -> int:
        """Count the records."""

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a call that finds the ten records nearest to a query, as its users get them."""

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return the same among the records that match a condition."""

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Return a call that finds the ten nearest to each query."""

    def get(self, condition: Condition) -> Callable[[], int]:
        """Return a call that gets all records that match a condition, and counts them."""

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Return a call that gets the records with these ids, and counts them."""

    def set_ef_search(self, ef_search: int) -> None:
        """Choose between speed and recall for the following searches."""

    def limit(self, data: Any) -> float | None:
        """Load the data as fast as the peer's database can at all; return the seconds it took.

        `None` means that no such way is known. The data is removed afterwards.
        """

    def close(self) -> None:
        """Close the peer, and stop the processes that it started on the directory."""
