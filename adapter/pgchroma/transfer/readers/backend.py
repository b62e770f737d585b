"""Read collections through a backend: of pgchroma, or of a server that speaks Chroma's API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Final, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pgchroma.backends._sync.base import Backend
from pgchroma.errors import NotFoundError
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.names import DEFAULT_TENANT
from pgchroma.model.operations import (
    CollectionRef,
    CountRecords,
    GetDatabase,
    GetRecords,
    ListCollections,
    ListDatabases,
    ListTenants,
)
from pgchroma.model.records import RecordColumns
from pgchroma.model.schema import schema_json
from pgchroma.transfer.source import Loss, SourceBatch, SourceCollection

__all__ = ("BackendSource", "Selection", "batch_of")

COLUMNS: Final = frozenset({"documents", "embeddings", "metadatas", "uris"})

PAGE_BYTES: Final = 8 << 20
"""Bytes of embeddings in a page. PostgreSQL walks past the records before a page, so pages are
larger than most batches."""

MAX_PAGE: Final = 5_000

PAGE_OF_COLLECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a source to read.

    Attributes:
        tenant: The only tenant to read; `None` means all that the source lists.
        database: The only database to read; `None` means all that the source lists.
    """

    tenant: str | None = None
    database: str | None = None


class BackendSource:
    """The collections of a backend that a context opens.

    The records are read page by page, and not in one snapshot. Records that clients add at the
    same time are read as well; if they delete some, pages shift, and the batches end with a loss.
    """

    max_page = MAX_PAGE

    def __init__(
        self, backend: AbstractContextManager[Backend], name: str, selection: Selection
    ) -> None:
        """Make a source.

        Args:
            backend: Yields the backend.
            name: What the source is, for messages.
            selection: The part to read.
        """
        self._context = backend
        self._name = name
        self._selection = selection
        self._stack = ExitStack()
        self._backend: Backend | None = None

    def __enter__(self) -> Self:
        """Connect."""
        self._backend = self._stack.enter_context(self._context)
        return self

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""
        self._backend = None
        self._stack.close()

    @property
    def backend(self) -> Backend:
        """The backend, inside the context."""
        if self._backend is None:
            raise RuntimeError("the source is not open")
        return self._backend

    def describe(self) -> str:
        """Return the address or the path."""
        return self._name

    def warnings(self) -> Sequence[str]:
        """Return nothing: a backend has no warnings."""
        return ()

    def collections(self) -> Sequence[SourceCollection]:
        """Return the collections by tenant, database and name."""
        found = [each for scope in self._scopes() for each in self.list_collections(scope)]
        return [replace(each, count=self.count(each)) for each in found]

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        """Yield the records of a collection in their insertion order."""
        ref = _ref(collection)
        width = max(1, PAGE_BYTES // (4 * (collection.dimension or 1)))
        # A page has whole batches.
        page_size = max(size, min(width, self.max_page) // size * size)
        offset = skip
        while True:
            page = self.backend.execute(GetRecords(ref, COLUMNS, limit=page_size, offset=offset))
            for first in range(0, len(page.ids), size):
                yield batch_of(page, first, first + size)
            offset += len(page.ids)
            if len(page.ids) < page_size:
                break
        now = self.count(collection)
        if now != offset:
            reason = (
                f"records were deleted while the collection was read: {offset:,} were read, and "
                f"{now:,} are there now"
            )
            yield SourceBatch([], [], [], [], [], [Loss("collection", reason, is_suspect=True)])

    def count(self, collection: SourceCollection) -> int:
        """Return the number of records."""
        return self.backend.execute(CountRecords(_ref(collection)))

    def list_collections(self, scope: DatabaseRef) -> Iterator[SourceCollection]:
        """Yield the collections of a database by name."""
        offset = 0
        while True:
            page = self.backend.execute(ListCollections(scope, PAGE_OF_COLLECTIONS, offset))
            yield from map(_source_collection, page)
            if len(page) < PAGE_OF_COLLECTIONS:
                return
            offset += len(page)

    def list_tenants(self) -> list[str]:
        """Return the names of the tenants that may be read."""
        return [tenant.name for tenant in self.backend.execute(ListTenants())]

    def list_databases(self, tenant: str) -> list[str]:
        """Return the names of a tenant's databases."""
        return [each.name for each in self.backend.execute(ListDatabases(tenant))]

    def _scopes(self) -> Iterator[DatabaseRef]:
        tenant, database = self._selection.tenant, self._selection.database
        if database is not None:
            scope = DatabaseRef(tenant or DEFAULT_TENANT, database)
            self.backend.execute(GetDatabase(scope))
            yield scope
            return
        tenants = [tenant] if tenant is not None else self.list_tenants()
        for name in tenants:
            for each in self.list_databases(name):
                yield DatabaseRef(name, each)
        if tenant is not None and not self.list_databases(tenant):
            raise NotFoundError(f"{self._name}: tenant {tenant} has no databases")


def batch_of(page: RecordColumns, first: int, end: int) -> SourceBatch:
    """Return a part of a page of records."""
    ids = page.ids[first:end]
    empty = [None] * len(ids)
    return SourceBatch(
        ids,
        _embeddings(page.embeddings, first, end) or empty,
        page.documents[first:end] if page.documents is not None else empty,
        page.uris[first:end] if page.uris is not None else empty,
        page.metadatas[first:end] if page.metadatas is not None else empty,
    )


def _embeddings(
    matrix: NDArray[np.float32] | None, first: int, end: int
) -> list[NDArray[np.float32] | None] | None:
    if matrix is None or not matrix.shape[1]:
        return None
    rows = matrix[first:end]
    # The row of a record without an embedding is NaN.
    is_missing = np.isnan(rows[:, 0])
    if not is_missing.any():
        return list(rows)
    return [None if is_none else row for row, is_none in zip(rows, is_missing, strict=True)]


def _ref(collection: SourceCollection) -> CollectionRef:
    return CollectionRef(DatabaseRef(collection.tenant, collection.database), UUID(collection.key))


def _source_collection(model: CollectionModel) -> SourceCollection:
    return SourceCollection(
        str(model.id),
        model.name,
        model.tenant,
        model.database,
        model.metadata,
        model.configuration_json,
        schema_json(model.configuration, {}),
        model.dimension,
    )
