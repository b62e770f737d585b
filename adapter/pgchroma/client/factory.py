"""Clients made: which database they speak to, and what they share.

Within a process, clients of one directory share its server, its connections and what they know of
its collections; the last one that closes lets go of them. So do ephemeral clients, which
therefore see each other's data, as Chroma's do.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.conninfo import make_conninfo

from pgchroma.backends.direct import AsyncDirectBackend, DirectBackend
from pgchroma.backends.sources import (
    AsyncEngineSource,
    AsyncJoinedSource,
    AsyncPoolSource,
    AsyncSource,
    EngineSource,
    JoinedSource,
    PoolSource,
    Source,
)
from pgchroma.client._async.client import AsyncAdminClient, AsyncClient
from pgchroma.client._async.concurrency import aside
from pgchroma.client._sync.client import AdminClient as AdminFacade
from pgchroma.client._sync.client import Client as ClientFacade
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.operations import Operation
from pgchroma.schema import ServerFacts, prepare
from pgchroma.store import Environment
from pgchroma.store.faults import translated

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

    from pgchroma.backends.base import Backend
    from pgchroma.embedded import EmbeddedPostgres

__all__ = (
    "AdminClient",
    "AsyncPostgresClient",
    "Client",
    "EphemeralClient",
    "PersistentClient",
    "PostgresClient",
    "clear_system_cache",
)

R = TypeVar("R")


def Client(  # noqa: N802
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client as the settings say: persistent if `is_persistent` is on, else ephemeral."""
    settings = settings or Settings()
    if settings.is_persistent:
        return PersistentClient(settings.persist_directory, settings, tenant, database)
    return EphemeralClient(settings, tenant, database)


def EphemeralClient(  # noqa: N802
    settings: Settings | None = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
) -> ClientFacade:
    """Make a client whose data is gone when the process ends."""
    settings = settings or Settings()
    return _checked(ClientFacade(_ephemeral_backend(settings), settings), tenant, database)


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
        ValueError: This process opened the directory with other settings.
    """
    settings = settings or Settings()
    return _checked(ClientFacade(_persistent_backend(path, settings), settings), tenant, database)


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
    backend = _url_backend(url, settings) if isinstance(url, str) else _joined(url, settings)
    return _checked(ClientFacade(backend, settings), tenant, database)


def AdminClient(settings: Settings | None = None) -> AdminFacade:  # noqa: N802
    """Make a client for tenants and databases, of what `Client` with these settings uses."""
    settings = settings or Settings()
    if settings.is_persistent:
        return AdminFacade(_persistent_backend(settings.persist_directory, settings))
    return AdminFacade(_ephemeral_backend(settings))


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
        return AsyncAdminClient(await self._backend())

    async def _connect(self) -> AsyncClient:
        client = AsyncClient(await self._backend(), self._settings)
        try:
            await client.set_tenant(self._tenant, self._database)
        except BaseException:
            await client.close()
            raise
        return client

    async def _backend(self) -> AsyncDirectBackend:
        if isinstance(self._url, str):
            return await _async_url_backend(self._url, self._settings)
        return await _async_joined(self._url, self._settings)


class _Shared:
    """A backend that several clients use, with what it stands on."""

    def __init__(self, settings: Settings, server: EmbeddedPostgres) -> None:
        self.settings = settings
        self.users = 0
        self._stack = ExitStack()
        self._stack.callback(server.close)
        try:
            self.backend = _url_backend(server.conninfo, settings)
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self.backend.close)
        # Registered after the server's own, so run before: connections go first.
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        self._stack.close()


class _SharedBackend:
    """One client's use of a shared backend."""

    def __init__(self, key: str, shared: _Shared) -> None:
        self._key = key
        self._shared: _Shared | None = shared

    def execute(self, operation: Operation[R]) -> R:
        if self._shared is None:
            raise InvalidArgumentError("this client is closed")
        return self._shared.backend.execute(operation)

    def close(self) -> None:
        if self._shared is not None:
            self._shared = None
            _release(self._key)


_shared: dict[str, _Shared] = {}
_shared_lock = Lock()

_EPHEMERAL = "ephemeral"


def clear_system_cache() -> None:
    """Close every embedded server of this process, whoever still uses it."""
    with _shared_lock:
        systems = list(_shared.values())
        _shared.clear()
    for system in systems:
        system.close()


def _ephemeral_backend(settings: Settings) -> Backend:
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (only where it is used)

    return _acquire(_EPHEMERAL, settings, EmbeddedPostgres.open_ephemeral)


def _persistent_backend(path: str | Path, settings: Settings) -> Backend:
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415

    key = str(Path(path).expanduser().resolve())
    return _acquire(key, settings, lambda: EmbeddedPostgres.open(path))


def _acquire(key: str, settings: Settings, start: Callable[[], EmbeddedPostgres]) -> Backend:
    with _shared_lock:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _Shared(settings, start())
        elif shared.settings != settings:
            raise ValueError(
                f"An instance of Chroma already exists for {key} with different settings"
            )
        shared.users += 1
        return _SharedBackend(key, shared)


def _release(key: str) -> None:
    with _shared_lock:
        shared = _shared.get(key)
        if shared is None:
            return
        shared.users -= 1
        if shared.users:
            return
        del _shared[key]
        shared.close()


def _checked(client: ClientFacade, tenant: str, database: str) -> ClientFacade:
    try:
        client.set_tenant(tenant, database)
    except BaseException:
        client.close()
        raise
    return client


def _environment(facts: ServerFacts, settings: Settings) -> Environment:
    timeout = round(settings.pgchroma_regex_timeout * 1000)
    return Environment(cast("int", facts.vector_oid), regex_timeout_ms=timeout)


def _url_backend(url: str, settings: Settings) -> DirectBackend:
    conninfo = _conninfo(url)
    # The first connection is made outside the pool, which would try for as long as it may.
    with translated(), psycopg.connect(conninfo, autocommit=True) as connection:
        facts = prepare(connection, settings.migrations)
    source = PoolSource(conninfo, settings.pgchroma_pool_size, settings.pgchroma_pool_timeout)
    return DirectBackend(source, _environment(facts, settings))


def _joined(owner: Engine | Connection | Session, settings: Settings) -> DirectBackend:
    source = _source(owner)
    with translated(), source.lend() as connection:
        facts = prepare(connection, settings.migrations)
    return DirectBackend(source, _environment(facts, settings))


def _source(owner: object) -> Source:
    from sqlalchemy import Connection, Engine  # noqa: PLC0415  (here the caller has it anyway)
    from sqlalchemy.orm import Session  # noqa: PLC0415

    if isinstance(owner, Engine):
        return EngineSource(owner)
    if isinstance(owner, Connection | Session):
        return JoinedSource(owner)
    raise InvalidArgumentError(
        f"expected a URL, or a SQLAlchemy Engine, Connection or Session, got {owner!r}"
    )


async def _async_url_backend(url: str, settings: Settings) -> AsyncDirectBackend:
    conninfo = _conninfo(url)
    facts = await aside(_look, conninfo, settings)
    source = AsyncPoolSource(conninfo, settings.pgchroma_pool_size, settings.pgchroma_pool_timeout)
    return AsyncDirectBackend(source, _environment(facts, settings))


async def _async_joined(owner: object, settings: Settings) -> AsyncDirectBackend:
    source = _async_source(owner)
    with translated():
        async with source.lend() as connection:
            info = connection.info
    conninfo = make_conninfo(info.dsn, password=info.password or None)
    facts = await aside(_look, conninfo, settings)
    return AsyncDirectBackend(source, _environment(facts, settings))


def _look(conninfo: str, settings: Settings) -> ServerFacts:
    # Alembic is synchronous, so the catalog is looked after on a connection of its own.
    with translated(), psycopg.connect(conninfo, autocommit=True) as connection:
        return prepare(connection, settings.migrations)


def _async_source(owner: object) -> AsyncSource:
    from sqlalchemy.ext.asyncio import (  # noqa: PLC0415
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
    )

    if isinstance(owner, AsyncEngine):
        return AsyncEngineSource(owner)
    if isinstance(owner, AsyncConnection | AsyncSession):
        return AsyncJoinedSource(owner)
    raise InvalidArgumentError(
        "expected a URL, or a SQLAlchemy AsyncEngine, AsyncConnection or AsyncSession, "
        f"got {owner!r}"
    )


def _conninfo(url: str) -> str:
    # SQLAlchemy's spelling names the driver; libpq's does not.
    for prefix in ("postgresql+psycopg://", "postgresql+psycopg_async://"):
        if url.startswith(prefix):
            return "postgresql://" + url.removeprefix(prefix)
    return url
