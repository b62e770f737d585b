"""A collection's pending embeddings, which another function makes, and its previous ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.types import Space

__all__ = (
    "MAX_COMPARED",
    "MAX_UNEMBEDDED",
    "MAX_WAIT_SECONDS",
    "EmbeddingComparison",
    "Reembedding",
    "ReembeddingReport",
    "Unembedded",
    "check_space",
    "check_whole",
)

MAX_UNEMBEDDED: Final = 10_000
"""The maximum number of records returned at once to be embedded."""

MAX_COMPARED: Final = 1_000
"""The maximum number of records whose neighbours are compared. Each one is compared with every
record, twice."""

MAX_WAIT_SECONDS: Final = 60.0
"""The maximum number of seconds that a switch may block writers."""


@dataclass(frozen=True, slots=True)
class Reembedding:
    """How complete a collection's pending embeddings are.

    Attributes:
        embedding_function: The function that makes them, in Chroma's stored form.
        space: The distance between them.
        dimension: Their length.
        is_previous: Whether they are previous embeddings, kept since a switch.
        total: The number of current embeddings.
        embedded: How many of these have a pending embedding.
        without_document: How many of the others have no document to embed.
        waiting: How many of the pending embeddings wait for an index.
    """

    embedding_function: Mapping[str, Any] | None
    space: Space
    dimension: int
    is_previous: bool
    total: int
    embedded: int
    without_document: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Unembedded:
    """Records that have no pending embedding yet, in the order of their positions.

    Attributes:
        positions: The positions of the current embeddings, and of those to store.
    """

    positions: list[int]
    ids: list[str]
    documents: list[str | None]
    uris: list[str | None]


@dataclass(frozen=True, slots=True)
class EmbeddingComparison:
    """How much the nearest neighbours of records agree between both embeddings.

    Attributes:
        overlap: The mean share of the nearest neighbours that both find, from 0 to 1.
        sample: The number of records that were searched for, chosen at random.
        n_results: The number of neighbours of each.
    """

    overlap: float
    sample: int
    n_results: int


@dataclass(frozen=True, slots=True)
class ReembeddingReport:
    """The result of a re-embedding.

    Attributes:
        embedded: The number of records that this call embedded.
        dimension: The length of the new embeddings; `None` if the collection has none.
        comparison: How much the neighbours agree; `None` if nothing was compared.
        is_switched: Whether the collection has switched to the new embeddings.
    """

    embedded: int
    dimension: int | None
    comparison: EmbeddingComparison | None
    is_switched: bool


def check_space(space: Any) -> None:
    """Check the distance between new embeddings; `None` means that of the current ones.

    Raises:
        InvalidArgumentError: It is not a distance.
    """
    if space is not None and space not in get_args(Space):
        expected = ", ".join(get_args(Space))
        raise InvalidArgumentError(f"space: expected one of {expected}, got {space!r}")


def check_whole(name: str, value: Any, max_value: int) -> int:
    """Return a value if it is an int from 1 to a maximum.

    Raises:
        InvalidArgumentError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= max_value:
        raise InvalidArgumentError(
            f"{name}: expected an int from 1 to {max_value:,}, got {value!r}"
        )
    return value
