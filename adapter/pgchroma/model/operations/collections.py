"""Operations on collections, their metadata and their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from pgchroma.model.entities import CollectionModel
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.operations.base import OnCollection, OnDatabase, OnInstallation, Operation, Read
from pgchroma.model.types import CollectionMetadata
from pgchroma.model.view import CollectionView

__all__ = (
    "CountCollections",
    "CreateCollection",
    "DeleteCollection",
    "GetCollection",
    "GetCollectionByCrn",
    "GetCollectionById",
    "GetCollectionView",
    "ListCollections",
    "ModifyCollection",
    "ReplaceCollection",
)


@dataclass(frozen=True, slots=True)
class CreateCollection(OnDatabase, Operation[CollectionModel]):
    """Create a collection, or with `get_or_create` return the one of that name, unchanged.

    Attributes:
        filterable: What records may be filtered by. None means everything.
    """

    name: str
    configuration: Mapping[str, Any] | None = None
    metadata: CollectionMetadata | None = None
    get_or_create: bool = False
    filterable: FilterableKeys | None = None


@dataclass(frozen=True, slots=True)
class GetCollection(OnDatabase, Read[CollectionModel]):
    """Find a collection by name."""

    name: str


@dataclass(frozen=True, slots=True)
class GetCollectionById(OnCollection, Read[CollectionModel]):
    """Find a collection by id."""


@dataclass(frozen=True, slots=True)
class GetCollectionByCrn(OnInstallation, Read[CollectionModel]):
    """Find a collection by its tenant's resource name, its database and its own name."""

    tenant_resource_name: str
    database: str
    name: str


@dataclass(frozen=True, slots=True)
class GetCollectionView(OnCollection, Read[CollectionView]):
    """Return the name and the columns of a collection's view, which SQL reads."""


@dataclass(frozen=True, slots=True)
class ListCollections(OnDatabase, Read[list[CollectionModel]]):
    """List a database's collections, ordered by name."""

    limit: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class CountCollections(OnDatabase, Read[int]):
    """Count the collections of a database."""


@dataclass(frozen=True, slots=True)
class ModifyCollection(OnCollection, Operation[None]):
    """Change a collection. None leaves a part as it is; new metadata replaces all of the old."""

    invalidates_credentials: ClassVar[bool] = True

    name: str | None = None
    metadata: CollectionMetadata | None = None
    configuration: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeleteCollection(OnDatabase, Operation[None]):
    """Delete a collection with its records."""

    invalidates_credentials: ClassVar[bool] = True

    name: str


@dataclass(frozen=True, slots=True)
class ReplaceCollection(OnCollection, Operation[None]):
    """Delete a collection and give its name to another one, in one transaction.

    Attributes:
        name: The name.
        replaced: The id of the collection to delete, which has the name.
    """

    invalidates_credentials: ClassVar[bool] = True

    name: str
    replaced: UUID
