"""The entities of the catalog: tenants, databases, collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.discovery import DiscoveredKeys
from pgchroma.model.types import CollectionMetadata

__all__ = ("CollectionModel", "Database", "DatabaseRef", "Limits", "Tenant", "UserIdentity")


@dataclass(frozen=True, slots=True)
class DatabaseRef:
    """Identifies a database."""

    tenant: str
    database: str


class Tenant(dict[str, str]):
    """A user, a team or an account that owns databases.

    It is a mapping, as in Chroma: ``tenant["name"]``, and ``resource_name`` if it has one.
    """

    def __init__(self, name: str, resource_name: str | None = None) -> None:
        super().__init__(name=name)
        if resource_name is not None:
            self["resource_name"] = resource_name

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self["name"]

    @property
    def resource_name(self) -> str | None:
        """Its name in collections' resource names."""
        return self.get("resource_name")


class Database(dict[str, str]):
    """A namespace of collections within a tenant; a schema in PostgreSQL.

    It is a mapping, as in Chroma: ``database["id"]``, ``name`` and ``tenant``, all of them strings.
    """

    def __init__(self, id: UUID, name: str, tenant: str) -> None:
        super().__init__(id=str(id), name=name, tenant=tenant)

    @property
    def id(self) -> UUID:
        """The database's id."""
        return UUID(self["id"])

    @property
    def name(self) -> str:
        """The database's name."""
        return self["name"]

    @property
    def tenant(self) -> str:
        """The tenant it belongs to."""
        return self["tenant"]


@dataclass(frozen=True, slots=True)
class CollectionModel:
    """A collection as the catalog describes it.

    Attributes:
        dimension: The length of its embeddings; `None` until the first write.
        generation: The generation of the embeddings in use: re-embedding creates new ones. `None`
            if the server does not return it, such as Chroma's.
        version: How often a compaction has found something new.
        discovered: The keys that were found in the metadata of records.
    """

    id: UUID
    name: str
    configuration: CollectionConfiguration
    metadata: CollectionMetadata | None
    dimension: int | None
    tenant: str
    database: str
    version: int = 0
    log_position: int = 0
    generation: int | None = None
    discovered: DiscoveredKeys = field(default_factory=dict)

    @property
    def configuration_json(self) -> Mapping[str, Any]:
        """The configuration as Chroma shows it."""
        return self.configuration.to_json()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request to a backend.

    Attributes:
        max_batch_size: Maximum number of records in one write.
        max_bytes: Maximum length of a request's body; `None` if requests have no bodies.
    """

    max_batch_size: int = 50_000
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """The caller as the database knows it: a user, and the tenant and databases it may use."""

    user_id: str
    tenant: str | None = None
    databases: list[str] | None = None
