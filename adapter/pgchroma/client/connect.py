"""`connect`: a client of whatever a place is, as LanceDB's users make one."""

from __future__ import annotations

from pathlib import Path
from types import EllipsisType
from typing import Any, TypedDict, Unpack

from pgchroma.backends._async.embedded import persistent_backend
from pgchroma.client._async.client import AsyncClient
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
    place: str | Path | EllipsisType = ..., **options: Unpack[ConnectOptions]
) -> ClientFacade:
    """Make a client of a place.

    Args:
        place: A ``postgresql://`` URL, the ``http://`` or ``https://`` URL of a server, or a
            directory, which has a PostgreSQL server of its own. Left out: as the settings say, see
            `Client`.
        options: What the client of such a place takes besides: `settings`, `tenant`, `database`,
            and of a server `headers`.

    Raises:
        InvalidArgumentError: The place is an address without ``http://``, or another URL.
        UnavailableError: The database cannot be reached.
        ValueError: No server answers there.
    """
    # The client of the place checks which options it has.
    arguments: dict[str, Any] = {**options}
    if isinstance(place, EllipsisType):
        return Client(**arguments)
    match _scheme(place):
        case "postgresql" | "postgres":
            return PostgresClient(str(place), **arguments)
        case "http" | "https":
            return HttpClient(str(place), **arguments)
        case _:
            return PersistentClient(place, **arguments)


async def connect_async(place: str | Path, **options: Unpack[ConnectOptions]) -> AsyncClient:
    """Make an asynchronous client of a place; takes and raises what `connect` does."""
    arguments: dict[str, Any] = {**options}
    match _scheme(place):
        case "postgresql" | "postgres":
            return await AsyncPostgresClient(str(place), **arguments)
        case "http" | "https":
            return await AsyncHttpClient(str(place), **arguments)
        case _:
            return await _persistent(place, **arguments)


def _scheme(place: str | Path) -> str:
    """Return the URL's scheme without SQLAlchemy's driver; empty if the place is not a URL."""
    scheme, separator, _ = str(place).partition("://")
    is_url = separator and isinstance(place, str)
    return scheme.lower().partition("+")[0] if is_url else ""


async def _persistent(
    path: str | Path,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> AsyncClient:
    settings = settings or Settings()
    check_destination(settings, "PersistentClient", path)
    backend = await persistent_backend(path, settings)
    client = AsyncClient(backend, settings, origin=directory_origin(path, settings))
    try:
        await client.set_tenant(tenant, database)
    except BaseException:
        await client.close()
        raise
    return client
