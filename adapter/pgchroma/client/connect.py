"""`connect`: a client of a URL or a directory, as LanceDB's users make one."""

from __future__ import annotations

from pathlib import Path
from types import EllipsisType
from typing import Any, TypedDict, Unpack

from pgchroma.client._async.backends import persistent_backend
from pgchroma.client._async.client import AsyncClient
from pgchroma.client._async.opening import open_client
from pgchroma.client._sync.client import Client as ClientFacade
from pgchroma.client.factories import AsyncPostgresClient, Client, PersistentClient, PostgresClient
from pgchroma.client.http import AsyncHttpClient, HttpClient
from pgchroma.client.origin import directory_origin
from pgchroma.config import Settings
from pgchroma.destinations import check_destination
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT

__all__ = ("ConnectOptions", "connect", "connect_async")


class ConnectOptions(TypedDict, total=False):
    """The options of `connect`; `headers` is for servers only."""

    settings: Settings | None
    tenant: str
    database: str
    headers: dict[str, str] | None


def connect(
    uri: str | Path | EllipsisType = ..., **options: Unpack[ConnectOptions]
) -> ClientFacade:
    """Return the client for a URL or a directory.

    Args:
        uri: A ``postgresql://`` URL, the ``http://`` or ``https://`` URL of a server, or a
            directory with an embedded PostgreSQL server. Without it, the settings decide; see
            `Client`.
        options: The other arguments of that client: `settings`, `tenant`, `database`, and
            `headers` for a server.

    Raises:
        InvalidArgumentError: The URI is an address without ``http://``, or another URL.
        UnavailableError: The database cannot be reached.
        ValueError: No server answers at the URL.
    """
    # The client checks its options.
    arguments: dict[str, Any] = {**options}
    if isinstance(uri, EllipsisType):
        return Client(**arguments)
    match _scheme(uri):
        case "postgresql" | "postgres":
            return PostgresClient(str(uri), **arguments)
        case "http" | "https":
            return HttpClient(str(uri), **arguments)
        case _:
            return PersistentClient(uri, **arguments)


async def connect_async(uri: str | Path, **options: Unpack[ConnectOptions]) -> AsyncClient:
    """Return the asynchronous client for a URL or a directory; see `connect`."""
    arguments: dict[str, Any] = {**options}
    match _scheme(uri):
        case "postgresql" | "postgres":
            return await AsyncPostgresClient(str(uri), **arguments)
        case "http" | "https":
            return await AsyncHttpClient(str(uri), **arguments)
        case _:
            return await _persistent(uri, **arguments)


def _scheme(uri: str | Path) -> str:
    """Return the URL's scheme without SQLAlchemy's driver; empty if it is not a URL."""
    scheme, separator, _ = str(uri).partition("://")
    is_url = separator and isinstance(uri, str)
    return scheme.lower().partition("+")[0] if is_url else ""


async def _persistent(
    path: str | Path,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> AsyncClient:
    settings = settings or Settings()
    check_destination(settings, "PersistentClient", path)
    return await open_client(
        await persistent_backend(path, settings),
        settings,
        directory_origin(path, settings),
        tenant,
        database,
    )
