"""Operations on the state of a collection's indexes."""

from __future__ import annotations

from dataclasses import dataclass

from pgchroma.model.inspection import IndexingStatus
from pgchroma.model.operations.base import OnCollection, Read

__all__ = ("GetIndexingStatus",)


@dataclass(frozen=True, slots=True)
class GetIndexingStatus(OnCollection, Read[IndexingStatus]):
    """Return how far the collection's indexes are behind its log."""
