"""Operations that write, read, count and delete records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgchroma.model.filters import Filter
from pgchroma.model.operations.base import OnCollection, Operation, Read
from pgchroma.model.records import RecordBatch, RecordColumns

__all__ = (
    "AddRecords",
    "CountRecords",
    "DeleteRecords",
    "GetRecords",
    "UpdateRecords",
    "UpsertRecords",
    "WriteRecords",
)


@dataclass(frozen=True, slots=True)
class WriteRecords(OnCollection, Operation[None]):
    """What `AddRecords`, `UpsertRecords` and `UpdateRecords` have in common."""

    records: RecordBatch

    def records_sent(self) -> int:
        """Return the size of the batch."""
        return len(self.records)

    def records_written(self, answer: Any) -> int:
        """Return the size of the batch."""
        return len(self.records)


@dataclass(frozen=True, slots=True)
class AddRecords(WriteRecords):
    """Store records; a record whose id exists already is left unchanged."""


@dataclass(frozen=True, slots=True)
class UpsertRecords(WriteRecords):
    """Store records; a record whose id exists already is updated."""


@dataclass(frozen=True, slots=True)
class UpdateRecords(WriteRecords):
    """Change records; a record whose id does not exist is ignored."""


@dataclass(frozen=True, slots=True)
class DeleteRecords(OnCollection, Operation[int]):
    """Delete the records that match all given conditions, and return how many there were.

    Attributes:
        limit: Delete no more than this many, the first in insertion order.
    """

    ids: list[str] | None = None
    filter: Filter | None = None
    limit: int | None = None

    def records_written(self, answer: Any) -> int:
        """Return how many records were deleted."""
        return int(answer)


@dataclass(frozen=True, slots=True)
class GetRecords(OnCollection, Read[RecordColumns]):
    """Return the records that match all given conditions, in insertion order."""

    include: frozenset[str]
    ids: list[str] | None = None
    filter: Filter | None = None
    limit: int | None = None
    offset: int | None = None

    def records_read(self, answer: Any) -> int:
        """Return how many records came back."""
        return len(answer.ids)


@dataclass(frozen=True, slots=True)
class CountRecords(OnCollection, Read[int]):
    """Count the records of a collection."""
