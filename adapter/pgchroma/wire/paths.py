"""Paths of tenants, databases and collections, and their parameters."""

from __future__ import annotations

from typing import Any, Final

from pgchroma.model.operations import CollectionRef
from pgchroma.wire.route import Request

__all__ = (
    "COLLECTION",
    "COLLECTIONS",
    "DATABASE",
    "DATABASES",
    "TENANT",
    "TENANTS",
    "collection_path",
    "database_path",
    "encode_collection",
    "encode_database",
)

TENANTS: Final = "/tenants"
TENANT: Final = TENANTS + "/{tenant}"
DATABASES: Final = TENANT + "/databases"
DATABASE: Final = DATABASES + "/{database}"
COLLECTIONS: Final = DATABASE + "/collections"
COLLECTION: Final = COLLECTIONS + "/{collection_id}"


def database_path(operation: Any) -> dict[str, str]:
    """Return the path parameters that name an operation's database."""
    return {"tenant": operation.scope.tenant, "database": operation.scope.database}


def collection_path(collection: CollectionRef) -> dict[str, str]:
    """Return the path parameters that name a collection."""
    scope = collection.scope
    return {
        "tenant": scope.tenant,
        "database": scope.database,
        "collection_id": str(collection.id),
    }


def encode_database(operation: Any) -> Request:
    """Return the request of an operation that has nothing but a database."""
    return Request(database_path(operation))


def encode_collection(operation: Any) -> Request:
    """Return the request of an operation that has nothing but a collection."""
    return Request(collection_path(operation.collection))
