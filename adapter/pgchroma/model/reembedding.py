"""A collection's second embeddings: those that another function makes, or made before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.types import Space

__all__ = (
    "MAX_COMPARED",
    "MAX_PATIENCE_SECONDS",
    "MAX_UNEMBEDDED",
    "Comparison",
    "Reembedding",
    "ReembeddingReport",
    "Unembedded",
    "check_space",
    "check_whole",
)

MAX_UNEMBEDDED: Final = 10_000
"""The most records handed out at once to be embedded."""

MAX_COMPARED: Final = 1_000
"""The most records whose neighbours are compared; each is compared with every record, twice."""


MAX_PATIENCE_SECONDS: Final = 60.0
"""The most seconds for which writers are held off."""


@dataclass(frozen=True, slots=True)
class Reembedding:
    """How far a collection's second embeddings are.

    Attributes:
        embedding_function: What makes them, in Chroma's persisted form.
        space: How they are compared.
        dimension: How long they are.
        is_previous: Whether they were in use before and are kept, and not being made.
        total: How many embeddings the collection has.
        embedded: How many of these there is a second one for.
        without_document: How many of the others have no document to embed.
        waiting: How many of the second ones wait for an index.
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
    """Records that have no second embedding yet, in the order of their positions.

    Attributes:
        positions: Where the embeddings in use are; the second ones belong there, too.
    """

    positions: list[int]
    ids: list[str]
    documents: list[str | None]
    uris: list[str | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much the neighbours of records are the same by both embeddings.

    Attributes:
        overlap: The mean part of the nearest that both find, from 0 to 1.
        sample: How many records were asked for, picked at random.
        n_results: How many neighbours of each.
    """

    overlap: float
    sample: int
    n_results: int


@dataclass(frozen=True, slots=True)
class ReembeddingReport:
    """What a re-embedding has done.

    Attributes:
        embedded: How many records were embedded, by this call.
        dimension: How long the new embeddings are; None: the collection has none.
        comparison: How much the neighbours stayed the same; None if nothing was compared.
        is_switched: Whether the new embeddings are in use.
    """

    embedded: int
    dimension: int | None
    comparison: Comparison | None
    is_switched: bool


def check_space(space: Any) -> None:
    """Check how embeddings are to be compared; None: as they are.

    Raises:
        InvalidArgumentError: It is no way to compare them.
    """
    if space is not None and space not in get_args(Space):
        expected = ", ".join(get_args(Space))
        raise InvalidArgumentError(f"space: expected one of {expected}, got {space!r}")


def check_whole(name: str, value: Any, most: int) -> int:
    """Check a number that is to be an int of at least 1.

    Raises:
        InvalidArgumentError: It is none, or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidArgumentError(f"{name}: expected an int from 1 to {most:,}, got {value!r}")
    return value
