"""What all operations have in common: what they answer, and on whose behalf they run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pgchroma.model.entities import DatabaseRef

__all__ = ("CollectionRef", "OnCollection", "OnDatabase", "OnInstallation", "Operation", "Read")

R_co = TypeVar("R_co", covariant=True)


class Operation(ABC, Generic[R_co]):
    """A request whose answer is an `R_co`.

    The attributes and methods below are what other layers need to know about any operation. An
    operation that says nothing has the harmless value.

    Attributes:
        only_reads: Whether the operation may be repeated no matter what became of it.
        invalidates_credentials: Whether credentials may apply to something else afterwards.
    """

    __slots__ = ()

    only_reads: ClassVar[bool] = False
    invalidates_credentials: ClassVar[bool] = False

    @property
    @abstractmethod
    def acting_tenant(self) -> str | None:
        """The tenant whose PostgreSQL role executes the operation; None: the login role does."""

    def records_sent(self) -> int:
        """Return how many records the request carries."""
        return 0

    def results_requested(self) -> int:
        """Return how many records each query asks for."""
        return 0

    def records_written(self, answer: Any) -> int:
        """Return how many records were written, given the answer."""
        return 0

    def records_read(self, answer: Any) -> int:
        """Return how many records the answer has."""
        return 0


class Read(Operation[R_co]):
    """A request that changes nothing, so that it may be repeated no matter what became of it."""

    __slots__ = ()

    only_reads: ClassVar[bool] = True


class OnInstallation:
    """An operation on more than one tenant's own rows; the login role executes it."""

    __slots__ = ()

    @property
    def acting_tenant(self) -> str | None:
        """No tenant."""
        return None


@dataclass(frozen=True, slots=True)
class OnDatabase:
    """An operation within one database."""

    scope: DatabaseRef

    @property
    def acting_tenant(self) -> str | None:
        """The database's tenant."""
        return self.scope.tenant


@dataclass(frozen=True, slots=True)
class CollectionRef:
    """Identifies a collection, which must belong to the given database.

    Attributes:
        generation: The generation of embeddings that the caller knows. None means that the caller
            does not know one; the embeddings of the request then count as of the current one.
    """

    scope: DatabaseRef
    id: UUID
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class OnCollection:
    """An operation on one collection."""

    collection: CollectionRef

    @property
    def acting_tenant(self) -> str | None:
        """The collection's tenant."""
        return self.collection.scope.tenant
