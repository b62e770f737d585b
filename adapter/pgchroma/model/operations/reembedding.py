"""Operations that replace a collection's embeddings by those of another function.

The new embeddings are *pending* until the collection switches to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.operations.base import OnCollection, Operation, Read
from pgchroma.model.reembedding import EmbeddingComparison, Reembedding, Unembedded
from pgchroma.model.types import Space

__all__ = (
    "CompareEmbeddings",
    "DropReembedding",
    "GetReembedding",
    "GetUnembedded",
    "StartReembedding",
    "StoreReembedded",
    "SwitchEmbeddings",
)


@dataclass(frozen=True, slots=True)
class StartReembedding(OnCollection, Operation[int | None]):
    """Create the table of a collection's pending embeddings, or continue with the existing one.

    The answer is the generation by which other operations refer to the pending embeddings. It is
    None if the collection has no embeddings to replace: it then has the new function already.

    Attributes:
        embedding_function: The function that makes the embeddings, in Chroma's stored form.
        dimension: The length of its embeddings.
        space: The distance between them. None means that of the current embeddings.
    """

    embedding_function: Mapping[str, Any]
    dimension: int
    space: Space | None = None


@dataclass(frozen=True, slots=True)
class GetReembedding(OnCollection, Read[Reembedding | None]):
    """Return how complete the pending embeddings are, or None if there are none."""


@dataclass(frozen=True, slots=True)
class GetUnembedded(OnCollection, Read[Unembedded]):
    """Return the first `limit` records after a position that have no pending embedding.

    The answer is empty if the collection has switched to the pending embeddings.
    """

    generation: int
    after: int
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class StoreReembedded(OnCollection, Operation[None]):
    """Store pending embeddings; those of records that have changed since are ignored.

    Attributes:
        embeddings: Shape ``(positions, dimension)``.
    """

    generation: int
    positions: list[int]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CompareEmbeddings(OnCollection, Read[EmbeddingComparison]):
    """Search for the neighbours of some records by both kinds of embeddings, and compare.

    Attributes:
        sample: How many records to search for, chosen at random.
        n_results: How many neighbours of each.
    """

    generation: int
    sample: int
    n_results: int


@dataclass(frozen=True, slots=True)
class SwitchEmbeddings(OnCollection, Operation[int]):
    """Switch to the pending embeddings if none is missing, and keep the previous ones.

    The answer is how many are missing; if any are, nothing has changed. Switching to embeddings
    that are current already changes nothing.

    Attributes:
        max_wait: The longest time to hold writers off, in seconds, while another session stores
            the few embeddings that are missing.
    """

    generation: int
    max_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class DropReembedding(OnCollection, Operation[None]):
    """Drop the pending or previous embeddings, if there are any."""
