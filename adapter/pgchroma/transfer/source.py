"""What a source of records offers to an import, an export or a copy.

A source is a context manager. It never writes to what it reads, and it holds no more than a few
batches of records in memory. Two passes over an unchanged collection yield the same records in the
same order, so that an interrupted transfer can continue where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ("Loss", "Source", "SourceBatch", "SourceCollection")

Part = Literal["collection", "record", "embedding", "document", "uri", "metadata"]
"""What a loss is about."""


@dataclass(frozen=True, slots=True)
class SourceCollection:
    """A collection of a source.

    Attributes:
        key: What identifies the collection within its source, such as a UUID.
        metadata: The collection's metadata, with Chroma's types.
        configuration: The configuration in the JSON that Chroma's API accepts.
        schema: The schema in the JSON that Chroma's API accepts, or `None`.
        dimension: The length of the embeddings, if the source knows it.
        count: How many records the collection has, if the source knows it before reading them.
    """

    key: str
    name: str
    tenant: str = "default_tenant"
    database: str = "default_database"
    metadata: Mapping[str, Any] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    dimension: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of a collection that could not be read, or that cannot be trusted.

    Attributes:
        reason: A sentence without its period, in words that the owner of the data understands.
        id: The record, or `None` if the loss is about the collection.
        is_suspect: Whether the part was read all the same, and may be wrong.
    """

    part: Part
    reason: str
    id: str | None = None
    is_suspect: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SourceBatch:
    """Consecutive records of a collection; every column has the length of `ids`.

    Nothing is validated: a record that the target refuses is reported as a loss.

    Attributes:
        embeddings: Float32 vectors, which may differ in length; `None` if a record has none.
        losses: What is missing from these records, or is suspect.
    """

    ids: Sequence[str]
    embeddings: Sequence[NDArray[np.float32] | None]
    documents: Sequence[str | None]
    uris: Sequence[str | None]
    metadatas: Sequence[Mapping[str, Any] | None]
    losses: Sequence[Loss] = ()


class Source(Protocol):
    """Where records come from."""

    def __enter__(self) -> Self:
        """Open the source.

        Raises:
            ChromaError: It cannot be read; the message says what is wrong and what to do.
        """
        ...

    def __exit__(self, *exception: object) -> None:
        """Close the source."""
        ...

    def describe(self) -> str:
        """Return what the source is, in a few words for the user."""
        ...

    def warnings(self) -> Sequence[str]:
        """Return sentences about the source as a whole, known once it is open."""
        ...

    def collections(self) -> Sequence[SourceCollection]:
        """Return the collections, in a stable order."""
        ...

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        """Yield the records of a collection in their insertion order.

        Args:
            collection: One of `collections()`.
            size: How many records a batch has at most.
            skip: How many records to leave out at the beginning.

        Raises:
            ChromaError: The source changed or could not be read any further.
        """
        ...
