"""Backends made from what a caller names a database by: a URL, or something of SQLAlchemy's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import psycopg
from psycopg.conninfo import make_conninfo
from tenacity import Retrying

from pgchroma.backends.compaction import CompactionSettings
from pgchroma.backends.compactor import Compactor
from pgchroma.backends.direct import AGAIN, AsyncDirectBackend, DirectBackend
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
from pgchroma.backends.urls import check_url
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.schema import ServerFacts, prepare
from pgchroma.store import Environment, run
from pgchroma.store.faults import translated
from pgchroma.store.locations import Observed
from pgchroma.store.roles import prepare_roles

__all__ = ("compaction_settings", "connect", "connect_async", "plain_conninfo")


def connect(target: object, settings: Settings) -> DirectBackend:
    """Make sure a database can be worked with, and make the backend that does.

    Args:
        target: A URL or a libpq connection string; or a SQLAlchemy engine, connection or session.
        settings: How many connections, and what to do with an empty database.
    """
    return _by_url(target, settings) if isinstance(target, str) else _by_owner(target, settings)


async def connect_async(target: object, settings: Settings) -> AsyncDirectBackend:
    """Do what `connect` does; the SQLAlchemy objects are the asynchronous ones."""
    if isinstance(target, str):
        return await _by_url_async(target, settings)
    return await _by_owner_async(target, settings)


def _by_url(url: str, settings: Settings) -> DirectBackend:
    conninfo = plain_conninfo(url)
    # The first connection is made outside the pool, which would try for as long as it may.
    with translated(), psycopg.connect(conninfo, autocommit=True) as connection:
        facts = _prepare(connection, settings)
    source = PoolSource(conninfo, **_pool(settings))
    compactor = _compactor(conninfo, settings)
    environment = _environment(facts, settings, compactor)
    return DirectBackend(source, environment, compactor, _query_connections(settings))


def _by_owner(owner: object, settings: Settings) -> DirectBackend:
    source = _source(owner)
    _refuse_joined(source, settings)
    with translated(), source.lend() as connection:
        facts = _prepare(connection, settings)
        conninfo = _conninfo_of(connection)
    compactor = None if source.is_joined else _compactor(conninfo, settings)
    environment = _environment(facts, settings, compactor, is_joined=source.is_joined)
    connections = 1 if source.is_joined else settings.pgchroma_query_connections
    return DirectBackend(source, environment, compactor, connections)


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


async def _by_url_async(url: str, settings: Settings) -> AsyncDirectBackend:
    conninfo = plain_conninfo(url)
    facts = await asyncio.to_thread(_look, conninfo, settings)
    source = AsyncPoolSource(conninfo, **_pool(settings))
    compactor = _compactor(conninfo, settings)
    environment = _environment(facts, settings, compactor)
    return AsyncDirectBackend(source, environment, compactor, _query_connections(settings))


async def _by_owner_async(owner: object, settings: Settings) -> AsyncDirectBackend:
    source = _async_source(owner)
    _refuse_joined(source, settings)
    with translated():
        async with source.lend() as connection:
            conninfo = _conninfo_of(connection)
    facts = await asyncio.to_thread(_look, conninfo, settings)
    compactor = None if source.is_joined else _compactor(conninfo, settings)
    environment = _environment(facts, settings, compactor, is_joined=source.is_joined)
    connections = 1 if source.is_joined else settings.pgchroma_query_connections
    return AsyncDirectBackend(source, environment, compactor, connections)


def _refuse_joined(source: Source | AsyncSource, settings: Settings) -> None:
    if source.is_joined and settings.pgchroma_role_per_tenant:
        raise InvalidArgumentError(
            "pgchroma_role_per_tenant changes the role in every transaction, and this one is "
            "yours: connect with a URL or an engine, or switch it off"
        )


def _prepare(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    # Others read the catalog meanwhile, in whose way what alters several of its tables may come.
    return Retrying(**AGAIN)(_prepare_once, connection, settings)


def _prepare_once(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    facts = prepare(connection, settings.migrations)
    if settings.pgchroma_role_per_tenant:
        is_strict = settings.pgchroma_role_per_tenant != "unsealed"
        run(connection, prepare_roles(is_strict=is_strict))
    return facts


def _look(conninfo: str, settings: Settings) -> ServerFacts:
    # Alembic is synchronous, so the catalog is looked after on a connection of its own.
    with translated(), psycopg.connect(conninfo, autocommit=True) as connection:
        return _prepare(connection, settings)


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


def plain_conninfo(url: str) -> str:
    """Spell a database's URL as libpq takes it."""
    # SQLAlchemy's spelling names the driver; libpq's does not.
    for prefix in ("postgresql+psycopg://", "postgresql+psycopg_async://"):
        if url.startswith(prefix):
            return "postgresql://" + url.removeprefix(prefix)
    return check_url(url)


def _pool(settings: Settings) -> dict[str, Any]:
    return {
        "size": settings.pgchroma_pool_size,
        "timeout": settings.pgchroma_pool_timeout,
        "prepares": settings.pgchroma_prepared_statements,
    }


def _conninfo_of(connection: psycopg.BaseConnection[Any]) -> str:
    info = connection.info
    return make_conninfo(info.dsn, password=info.password or None)


def _compactor(conninfo: str, settings: Settings) -> Compactor | None:
    if not settings.pgchroma_compaction:
        return None
    url = settings.pgchroma_compaction_url
    observed = Observed(takes_filters=settings.pgchroma_auto_index)
    target = conninfo if url is None else plain_conninfo(url)
    return Compactor(target, compaction_settings(settings), observed)


def compaction_settings(settings: Settings) -> CompactionSettings:
    """Return what compaction is told of the settings."""
    return CompactionSettings(
        settings.pgchroma_segment_bytes,
        settings.pgchroma_index_memory,
        settings.pgchroma_auto_index,
    )


def _query_connections(settings: Settings) -> int:
    return min(settings.pgchroma_query_connections, settings.pgchroma_pool_size)


def _environment(
    facts: ServerFacts,
    settings: Settings,
    compactor: Compactor | None,
    *,
    is_joined: bool = False,
) -> Environment:
    timeouts = [round(settings.pgchroma_regex_timeout * 1000), facts.statement_timeout_ms]
    return Environment(
        cast("int", facts.vector_oid),
        # In the caller's transaction his own limit holds.
        regex_timeout_ms=None if is_joined else min(limit for limit in timeouts if limit),
        is_forgetful=is_joined,
        allows_reset=settings.allow_reset,
        limits=Limits(settings.pgchroma_max_batch_size),
        has_tenant_roles=bool(settings.pgchroma_role_per_tenant),
        segment_bytes=settings.pgchroma_segment_bytes,
        observed=None if compactor is None else compactor.observed,
    )
