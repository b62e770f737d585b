"""One frozen value for each request the product answers, and the type of its answer.

A backend executes them: ``backend.execute(CountRecords(collection)) -> int``. They are
checked where they are made, so whoever executes them need not ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.entities import (
    CollectionModel,
    Database,
    DatabaseRef,
    Tenant,
    UserIdentity,
)
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.filters import Filter
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall
from pgchroma.model.records import QueriedRecords, RecordBatch, RecordColumns
from pgchroma.model.reembedding import Comparison, Reembedding, Unembedded
from pgchroma.model.types import CollectionMetadata, Space

__all__ = (
    "AddRecords",
    "CollectionRef",
    "CompareEmbeddings",
    "CountCollections",
    "CountRecords",
    "CreateCollection",
    "CreateDatabase",
    "CreateTenant",
    "DeleteCollection",
    "DeleteDatabase",
    "DeleteRecords",
    "DropReembedding",
    "ExplainQuery",
    "GetCollection",
    "GetCollectionByCrn",
    "GetCollectionById",
    "GetDatabase",
    "GetIdentity",
    "GetIndexingStatus",
    "GetRecords",
    "GetReembedding",
    "GetTenant",
    "GetUnembedded",
    "GetVersion",
    "Heartbeat",
    "ListCollections",
    "ListDatabases",
    "MeasureRecall",
    "ModifyCollection",
    "Operation",
    "QueryRecords",
    "Read",
    "Reset",
    "StartReembedding",
    "StoreReembedded",
    "SwitchEmbeddings",
    "UpdateRecords",
    "UpdateTenant",
    "UpsertRecords",
)

R_co = TypeVar("R_co", covariant=True)


class Operation(Generic[R_co]):
    """A request whose answer is an `R_co`.

    Attributes:
        only_reads: Whether carrying it out twice is the same as carrying it out once.
    """

    __slots__ = ()

    only_reads: ClassVar[bool] = False


class Read(Operation[R_co]):
    """A request that changes nothing, so that it may be repeated whatever became of it."""

    __slots__ = ()

    only_reads: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CollectionRef:
    """Which collection a request is about; it must belong to this database.

    Attributes:
        generation: Which of its embeddings those of the request are like; None: the caller does
            not know, and they are taken for what is in use.
    """

    scope: DatabaseRef
    id: UUID
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat(Read[int]):
    """The database's time, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class GetVersion(Read[str]):
    """The version of what answers."""


@dataclass(frozen=True, slots=True)
class GetIdentity(Read[UserIdentity]):
    """Who the caller is to what answers, and which databases it may use."""


@dataclass(frozen=True, slots=True)
class Reset(Operation[None]):
    """Drop everything and make the default tenant and database anew."""


@dataclass(frozen=True, slots=True)
class CreateTenant(Operation[None]):
    """Make a tenant; its name must be free."""

    name: str


@dataclass(frozen=True, slots=True)
class GetTenant(Read[Tenant]):
    """Find a tenant by name."""

    name: str


@dataclass(frozen=True, slots=True)
class UpdateTenant(Operation[None]):
    """Give a tenant the name by which it is found in collections' resource names, once."""

    name: str
    resource_name: str


@dataclass(frozen=True, slots=True)
class CreateDatabase(Operation[None]):
    """Make a database; its name must be free within the tenant, which must exist."""

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class GetDatabase(Read[Database]):
    """Find a database by name."""

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class DeleteDatabase(Operation[None]):
    """Drop a database with all its collections."""

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class ListDatabases(Read[list[Database]]):
    """A tenant's databases, by name."""

    tenant: str
    limit: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CreateCollection(Operation[CollectionModel]):
    """Make a collection, or with `get_or_create` find the one of that name, unchanged.

    Attributes:
        indexed: What may be filtered by; None: everything.
    """

    scope: DatabaseRef
    name: str
    configuration: Mapping[str, Any] | None = None
    metadata: CollectionMetadata | None = None
    get_or_create: bool = False
    indexed: FilterableKeys | None = None


@dataclass(frozen=True, slots=True)
class GetCollection(Read[CollectionModel]):
    """Find a collection by name."""

    scope: DatabaseRef
    name: str


@dataclass(frozen=True, slots=True)
class GetCollectionById(Read[CollectionModel]):
    """Find a collection by id."""

    collection: CollectionRef


@dataclass(frozen=True, slots=True)
class GetCollectionByCrn(Read[CollectionModel]):
    """Find a collection by its tenant's resource name, its database and its own name."""

    tenant_resource_name: str
    database: str
    name: str


@dataclass(frozen=True, slots=True)
class ListCollections(Read[list[CollectionModel]]):
    """A database's collections, by name."""

    scope: DatabaseRef
    limit: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CountCollections(Read[int]):
    """How many collections a database has."""

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class ModifyCollection(Operation[None]):
    """Change a collection; what is None stays. New metadata replaces the old whole."""

    collection: CollectionRef
    name: str | None = None
    metadata: CollectionMetadata | None = None
    configuration: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeleteCollection(Operation[None]):
    """Drop a collection with its records."""

    scope: DatabaseRef
    name: str


@dataclass(frozen=True, slots=True)
class AddRecords(Operation[None]):
    """Store records; one whose id is there already is left as it is."""

    collection: CollectionRef
    records: RecordBatch


@dataclass(frozen=True, slots=True)
class UpsertRecords(Operation[None]):
    """Store records; one whose id is there already is updated."""

    collection: CollectionRef
    records: RecordBatch


@dataclass(frozen=True, slots=True)
class UpdateRecords(Operation[None]):
    """Change records; one whose id is not there is passed over."""

    collection: CollectionRef
    records: RecordBatch


@dataclass(frozen=True, slots=True)
class DeleteRecords(Operation[int]):
    """Remove the records that meet all conditions given, the first `limit` in insertion order.

    The answer is how many there were.
    """

    collection: CollectionRef
    ids: list[str] | None = None
    filter: Filter | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class GetRecords(Read[RecordColumns]):
    """Records that meet all conditions given, in insertion order."""

    collection: CollectionRef
    include: frozenset[str]
    ids: list[str] | None = None
    filter: Filter | None = None
    limit: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CountRecords(Read[int]):
    """How many records a collection has."""

    collection: CollectionRef


@dataclass(frozen=True, slots=True, eq=False)
class QueryRecords(Read[list[QueriedRecords]]):
    """For each embedding the `n_results` nearest of the records that meet all conditions.

    Attributes:
        embeddings: Shape ``(queries, dimension)``.
    """

    collection: CollectionRef
    embeddings: NDArray[np.float32]
    n_results: int
    include: frozenset[str]
    ids: list[str] | None = None
    filter: Filter | None = None

    def split(self, parts: int) -> list[QueryRecords]:
        """Return the same queries in so many operations, or fewer; the answers add up to this's."""
        if parts < 2 or len(self.embeddings) < parts:  # noqa: PLR2004
            return [self]
        return [replace(self, embeddings=part) for part in np.array_split(self.embeddings, parts)]


@dataclass(frozen=True, slots=True, eq=False)
class ExplainQuery(Read[QueryPlan]):
    """Run a query and tell how it was done.

    Attributes:
        query: What to run.
    """

    query: QueryRecords


@dataclass(frozen=True, slots=True)
class MeasureRecall(Read[Recall]):
    """Ask for the neighbours of some stored embeddings, by the index and exactly, and compare.

    Attributes:
        sample: How many embeddings, picked at random.
        n_results: How many neighbours of each.
        filter: What the neighbours must meet.
    """

    collection: CollectionRef
    sample: int = 100
    n_results: int = 10
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class GetIndexingStatus(Read[IndexingStatus]):
    """How far the collection's indexes are behind its log."""

    collection: CollectionRef


@dataclass(frozen=True, slots=True)
class StartReembedding(Operation[int | None]):
    """Make room for a collection's second embeddings, or go on with those of the same function.

    The answer is their generation, by which other operations name them; or None: the collection
    has no embeddings that would have to be made anew, and has the function now.

    Attributes:
        embedding_function: What makes them, in Chroma's persisted form.
        dimension: How long they are.
        space: How they are compared; None: as those in use are.
    """

    collection: CollectionRef
    embedding_function: Mapping[str, Any]
    dimension: int
    space: Space | None = None


@dataclass(frozen=True, slots=True)
class GetReembedding(Read[Reembedding | None]):
    """How far the second embeddings are; None: there are none."""

    collection: CollectionRef


@dataclass(frozen=True, slots=True)
class GetUnembedded(Read[Unembedded]):
    """The first `limit` records behind a position that have no second embedding.

    There are none where the second embeddings are in use meanwhile.
    """

    collection: CollectionRef
    generation: int
    after: int
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class StoreReembedded(Operation[None]):
    """Keep second embeddings; one whose record has changed meanwhile is passed over.

    Attributes:
        embeddings: Shape ``(positions, dimension)``.
    """

    collection: CollectionRef
    generation: int
    positions: list[int]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CompareEmbeddings(Read[Comparison]):
    """Ask for the neighbours of some records by both embeddings, and compare.

    Attributes:
        sample: How many records, picked at random.
        n_results: How many neighbours of each.
    """

    collection: CollectionRef
    generation: int
    sample: int
    n_results: int


@dataclass(frozen=True, slots=True)
class SwitchEmbeddings(Operation[int]):
    """Take the second embeddings into use, and keep those that were, if none is missing.

    The answer is how many are missing; with any, nothing was changed. Those that are in use
    already stay so.

    Attributes:
        patience: Seconds for which writers are held off at the most, so that somebody else can
            store the few that are missing.
    """

    collection: CollectionRef
    generation: int
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class DropReembedding(Operation[None]):
    """Drop the second embeddings, if there are any."""

    collection: CollectionRef
