"""Where a collection's tables are, remembered between calls.

A collection never moves, and its dimension and space, once fixed, never change. What is kept
here can still be of the past: the collection was deleted, or a transaction that made it or fixed
its dimension was rolled back. So nobody is refused on the word of memory alone, and a statement
that meets a missing table makes the caller forget and look again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID

import orjson

from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.entities import DatabaseRef, Limits
from pgchroma.model.indexed import Indexed
from pgchroma.model.operations import CollectionRef
from pgchroma.model.types import Space
from pgchroma.store.layout import (
    MAX_DIMENSION,
    CollectionTables,
    create_vectors,
)
from pgchroma.store.statement import Atomic, Exchange, Statement, render

__all__ = ("Environment", "Location", "locate", "locate_fitting", "locate_for_vectors")

_REMEMBERED = 10_000
"""More collections than this in use at once only cost look-ups."""


@dataclass(frozen=True, slots=True)
class Location:
    """A collection's tables and what is fixed about its embeddings.

    Attributes:
        dimension: None until the first embedding is written; then there is no table of vectors.
        indexed: What may be filtered by.
    """

    scope: DatabaseRef
    tables: CollectionTables
    space: Space
    dimension: int | None
    indexed: Indexed = field(default_factory=Indexed)


@dataclass(slots=True)
class Environment:
    """What handlers know about the database they work on.

    Attributes:
        vector_oid: The object id of the type `vector` there.
        regex_timeout_ms: How long a statement with a regular expression may run; None to leave
            that to the caller, whose transaction it is.
        is_forgetful: Whether nothing is remembered, since what was seen in the caller's
            transaction may never have been.
        allows_reset: Whether everything may be deleted at once.
        limits: What one request may carry.
        has_tenant_roles: Whether each tenant's requests run as a role of PostgreSQL of its own.
    """

    vector_oid: int
    regex_timeout_ms: int | None = None
    is_forgetful: bool = False
    allows_reset: bool = False
    limits: Limits = field(default_factory=Limits)
    has_tenant_roles: bool = False
    _locations: dict[UUID, Location] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def recall(self, collection: CollectionRef) -> Location | None:
        """Return what is known of a collection, if it is of the database asked about."""
        known = self._locations.get(collection.id)
        return known if known is not None and known.scope == collection.scope else None

    def remember(self, location: Location) -> None:
        """Keep a location for later calls."""
        if self.is_forgetful:
            return
        with self._lock:
            if len(self._locations) >= _REMEMBERED:
                self._locations.clear()
            self._locations[location.tables.id] = location

    def role_of(self, tenant: str) -> str | None:
        """Return what is known of a tenant's role."""
        return self._roles.get(tenant)

    def remember_role(self, tenant: str, role: str) -> None:
        """Keep a tenant's role for later calls."""
        with self._lock:
            if len(self._roles) >= _REMEMBERED:
                self._roles.clear()
            self._roles[tenant] = role

    def forget(self) -> None:
        """Drop all that is remembered."""
        with self._lock:
            self._locations.clear()
            self._roles.clear()


def locate(collection: CollectionRef, environment: Environment) -> Exchange[Location]:
    """Find a collection: from memory if its dimension is known there, else with a look-up.

    Raises:
        NotFoundError: The database has no such collection.
    """
    known = environment.recall(collection)
    if known is not None and known.dimension is not None:
        return known
    rows = yield Statement(
        _FIND,
        {
            "id": collection.id,
            "tenant": collection.scope.tenant,
            "database": collection.scope.database,
        },
    )
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    schema, space, dimension, indexed = rows[0]
    tables = CollectionTables(schema, collection.id)
    allowed = Indexed.from_json(None if indexed is None else orjson.loads(indexed))
    location = Location(collection.scope, tables, space, dimension, allowed)
    environment.remember(location)
    return location


def locate_fitting(
    collection: CollectionRef, environment: Environment, dimension: int
) -> Exchange[Location]:
    """Find a collection that embeddings of this length are compared with.

    Raises:
        NotFoundError: The database has no such collection.
        InvalidArgumentError: The collection's embeddings have another length.
    """
    location = yield from locate(collection, environment)
    if location.dimension not in (None, dimension):
        environment.forget()
        location = yield from locate(collection, environment)
    if location.dimension not in (None, dimension):
        raise InvalidArgumentError(
            f"Collection expecting embedding with dimension of {location.dimension}, "
            f"got {dimension}"
        )
    return location


def locate_for_vectors(
    collection: CollectionRef, environment: Environment, dimension: int
) -> Exchange[Location]:
    """Find a collection that embeddings of this length are to be written to.

    The first write fixes the dimension and makes the table of vectors; of two that come at
    once, one does and the other waits for it at the catalog's row.

    Raises:
        NotFoundError: The database has no such collection.
        InvalidArgumentError: The collection's embeddings have another length.
    """
    location = yield from locate_fitting(collection, environment, dimension)
    if location.dimension is None:
        yield Atomic(_fix_dimension(location, dimension))
        location = yield from locate_fitting(collection, environment, dimension)
    return location


def _fix_dimension(location: Location, dimension: int) -> Exchange[None]:
    if dimension > MAX_DIMENSION:
        raise InvalidArgumentError(
            f"an embedding of {dimension} dimensions is too long: PostgreSQL's type vector "
            f"holds up to {MAX_DIMENSION}"
        )
    tables = location.tables
    rows = yield Statement(_FIX_DIMENSION, {"id": tables.id, "dimension": dimension})
    if rows:
        yield create_vectors(tables, rows[0][0], dimension)


_FIND = render(
    """
    select
        d.schema_name, c.configuration -> 'hnsw' ->> 'space', c.dimension,
        nullif(c.configuration -> 'indexed', 'null')::text
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    """
)

_FIX_DIMENSION = render(
    """
    update pgchroma.collections set dimension = %(dimension)s
    where id = %(id)s and dimension is null
    returning name
    """
)
