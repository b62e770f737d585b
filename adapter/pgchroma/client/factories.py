"""Functions that make clients.

Within a process, clients of one directory share its server, its connections and what is cached of
its collections; the last client that closes releases them. Ephemeral clients do as well, so they
see each other's data, as Chroma's do.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgchroma.client._async.backends import postgres_backend as postgres_backend_async
from pgchroma.client._async.client import AsyncAdminClient, AsyncClient
from pgchroma.client._async.opening import open_client as open_client_async
from pgchroma.client._sync.backends import (
    ephemeral_backend,
    http_backend,
    persistent_backend,
    postgres_backend,
)
from pgchroma.client._sync.client import AdminClient as AdminFacade
from pgchroma.client._sync.client import Client as ClientFacade
from pgchroma.client._sync.opening import open_client
from pgchroma.client.http import client_from_settings
from pgchroma.client.origin import directory_origin, ephemeral_origin, postgres_origin
from pgchroma.config import Settings
from pgchroma.destinations import check_destination, is_http
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

__all__ = (
    "AdminClient",
    "AsyncPostgresClient",
    "Client",
    "EphemeralClient",
    "PersistentClient",
    "PostgresClient",
    "RustClient",
    "configure",
    "get_settings",
)

_configured: Settings | None = None


def configure(**settings: Any) -> None:
    """Choose the settings that `Client` uses where it is given none; see `Settings`."""
    global _configured  # noqa: PLW0603
    _configured = Settings(**settings)


def get_settings() -> Settings:
    """Return the settings that `Client` uses where it is given none."""
    return _configured or Settings()


def Client(  # noqa: N802
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client as the settings say: of a server, persistent, or else ephemeral.

    Raises:
        ValueError: A setting would have the data go elsewhere; the message names the client to use.
    """
    settings = settings or get_settings()
    check_destination(settings, "Client")
    if is_http(settings):
        return client_from_settings(settings, tenant, database)
    if settings.is_persistent:
        return PersistentClient(settings.persist_directory, settings, tenant, database)
    return EphemeralClient(settings, tenant, database)


def EphemeralClient(  # noqa: N802
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client whose data is deleted when the process ends."""
    settings = settings or Settings()
    check_destination(settings, "EphemeralClient")
    return open_client(
        ephemeral_backend(settings), settings, ephemeral_origin(settings), tenant, database
    )


def PersistentClient(  # noqa: N802
    path: str | Path = "./chroma",
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client whose data lives in a directory.

    The directory has a PostgreSQL server of its own, which this starts or joins: any number of
    processes may open one directory at once.

    Raises:
        UnavailableError: The server cannot be started; the message says why.
        ValueError: This process opened the directory with other settings, or the settings name
            another directory or a server.
    """
    settings = settings or Settings()
    check_destination(settings, "PersistentClient", path)
    return open_client(
        persistent_backend(path, settings),
        settings,
        directory_origin(path, settings),
        tenant,
        database,
    )


def RustClient(  # noqa: N802
    path: str | Path | None = None,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client under another of Chroma's names: persistent with a path, else ephemeral."""
    if path is None:
        return EphemeralClient(settings, tenant, database)
    return PersistentClient(path, settings, tenant, database)


def PostgresClient(  # noqa: N802
    url: str | Engine | Connection | Session,
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client of a PostgreSQL database with pgvector.

    Args:
        url: A ``postgresql://`` URL or a libpq connection string. Or a SQLAlchemy engine on
            psycopg. Or a SQLAlchemy connection or session: then all the client does is part of
            its transaction, and is committed or rolled back with it.
        settings: See `Settings`; `migrations` decides what happens to an empty database.
        tenant: The tenant to work for.
        database: The tenant's database to work in.

    Raises:
        UnavailableError: The database cannot be reached.
        VersionMismatchError: PostgreSQL, pgvector or the catalog is of the wrong version.
        MissingRightError: The user may not create the catalog; the message has the grant.
        NotFoundError: The tenant or the database does not exist.
    """
    settings = settings or Settings()
    check_destination(settings, "PostgresClient")
    backend = postgres_backend(url, settings)
    return open_client(backend, settings, postgres_origin(url, settings), tenant, database)


def AdminClient(  # noqa: N802
    url: str | Engine | Connection | Session | Settings | None = None,
    settings: Settings | None = None,
) -> AdminFacade:
    """Make a client for tenants and databases.

    Args:
        url: What `PostgresClient` takes, or the ``http://`` or ``https://`` URL of a server. Or
            settings, as in Chroma: then it is about what `Client` with these settings uses.
        settings: See `Settings`.

    Raises:
        UnavailableError: The database cannot be reached.
        MissingRightError: The user lacks a right; the message has the grant.
    """
    if isinstance(url, Settings):
        url, settings = None, url
    settings = settings or Settings()
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return AdminFacade(http_backend(settings.model_copy(update={"chroma_server_host": url})))
    if url is not None:
        return AdminFacade(postgres_backend(url, settings))
    check_destination(settings, "Client")
    if is_http(settings):
        return AdminFacade(http_backend(settings))
    if settings.is_persistent:
        return AdminFacade(persistent_backend(settings.persist_directory, settings))
    return AdminFacade(ephemeral_backend(settings))


class AsyncPostgresClient:
    """Make an asynchronous client: ``client = await AsyncPostgresClient(url)``.

    It takes and raises what `PostgresClient` does; engine, connection and session are SQLAlchemy's
    asynchronous ones. It is also a context manager: ``async with AsyncPostgresClient(url) as …``.
    """

    def __init__(
        self,
        url: str | AsyncEngine | AsyncConnection | AsyncSession,
        settings: Settings | None = None,
        tenant: str = DEFAULT_TENANT,
        database: str = DEFAULT_DATABASE,
    ) -> None:
        self._url = url
        self._settings = settings or Settings()
        check_destination(self._settings, "PostgresClient")
        self._tenant = tenant
        self._database = database
        self._client: AsyncClient | None = None

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncClient:
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def admin(self) -> AsyncAdminClient:
        """Make a client for tenants and databases instead."""
        return AsyncAdminClient(await postgres_backend_async(self._url, self._settings))

    async def _connect(self) -> AsyncClient:
        return await open_client_async(
            await postgres_backend_async(self._url, self._settings),
            self._settings,
            postgres_origin(self._url, self._settings),
            self._tenant,
            self._database,
        )
