"""Read a running server: Chroma's from 0.5 on, or pgchroma's.

Records are read as by any client. Tenants, databases and collections are read as plain JSON,
because older servers describe collections in other ways and lack some of the routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx
from tenacity import Retrying

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.http import HttpBackend
from pgchroma.backends.http_errors import (
    decode_errors,
    read_response,
    retry_policy,
    transport_errors,
)
from pgchroma.errors import ChromaError
from pgchroma.model.discovery import read_kinds
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.operations import GetIdentity
from pgchroma.model.schema import without_discovered
from pgchroma.transfer.readers.backend import BackendSource, Selection
from pgchroma.transfer.source import SourceCollection
from pgchroma.wire.route import PREFIX

__all__ = ("ServerSource",)

PAGE_OF_COLLECTIONS: Final = 100

MAX_PAGE: Final = 1_000
"""Records in a page. Numbers in JSON take several times the memory of the embeddings."""

_OLD_SETTINGS: Final = {
    "space": "space", "ef_construction": "ef_construction", "ef_search": "ef_search",
    "M": "max_neighbors", "num_threads": "num_threads", "resize_factor": "resize_factor",
    "batch_size": "batch_size", "sync_threshold": "sync_threshold",
}  # fmt: skip
"""The settings of an index as Chroma before 1.0 calls them."""

_MISSING: Final = frozenset({404, 405, 410, 501})
"""The statuses of a route that a server does not have."""


class ServerSource(BackendSource):
    """The collections of a server."""

    max_page = MAX_PAGE

    def __init__(self, backend: HttpBackend, selection: Selection) -> None:
        """Make a source, which closes the backend in the end."""
        super().__init__(_closing(backend), backend.endpoint.address, selection)
        self._endpoint = backend.endpoint

    def list_collections(self, scope: DatabaseRef) -> Iterator[SourceCollection]:
        """Yield the collections of a database, as the server lists them."""
        path = f"/tenants/{quote(scope.tenant, safe='')}/databases/{quote(scope.database, safe='')}"
        offset = 0
        while True:
            page = self._get(f"{path}/collections?limit={PAGE_OF_COLLECTIONS}&offset={offset}")
            with decode_errors(self._endpoint):
                yield from [_source_collection(body, scope) for body in page]
            if len(page) < PAGE_OF_COLLECTIONS:
                return
            offset += len(page)

    def list_tenants(self) -> list[str]:
        """Return the tenant of the credential, since no server lists tenants."""
        tenant = self.backend.execute(GetIdentity()).tenant
        return [DEFAULT_TENANT if tenant in (None, "", "*") else str(tenant)]

    def list_databases(self, tenant: str) -> list[str]:
        """Return the tenant's databases; the default one if the server cannot list them."""
        found = self._get(f"/tenants/{quote(tenant, safe='')}/databases", _MISSING)
        if found is None:
            return [DEFAULT_DATABASE]
        with decode_errors(self._endpoint):
            return [str(each["name"]) for each in found]

    def _get(self, path: str, missing: frozenset[int] = frozenset()) -> Any:
        """Return the JSON at a path, or `None` if the server has no such route."""

        def send() -> Any:
            with transport_errors(self._endpoint, is_idempotent=True):
                response = client.get(PREFIX + path)
            return None if response.status_code in missing else read_response(response)

        with httpx.Client(**self._endpoint.options()) as client:
            body = Retrying(**retry_policy(is_idempotent=True))(send)
        if body is not None and not isinstance(body, list):
            raise ChromaError(f"{self._endpoint.address}: {path} is not a list")
        return body


def _closing(backend: HttpBackend) -> AbstractContextManager[Backend]:
    @contextmanager
    def closing() -> Iterator[Backend]:
        try:
            yield backend
        finally:
            backend.close()

    return closing()


def _source_collection(body: Mapping[str, Any], scope: DatabaseRef) -> SourceCollection:
    schema = body.get("schema")
    if schema is not None:
        schema = without_discovered(schema, read_kinds(body.get("discovered_keys")))
    return SourceCollection(
        str(body["id"]),
        str(body["name"]),
        scope.tenant,
        scope.database,
        body.get("metadata"),
        _configuration(body.get("configuration_json") or {}),
        schema,
        body.get("dimension"),
    )


def _configuration(shown: Mapping[str, Any]) -> dict[str, Any]:
    old = shown.get("hnsw_configuration")
    if not isinstance(old, Mapping):
        return dict(shown)
    settings = {new: old[name] for name, new in _OLD_SETTINGS.items() if name in old}
    return {"hnsw": settings}
