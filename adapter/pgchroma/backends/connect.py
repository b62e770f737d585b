"""Backends made from what a caller names a database by: a URL, or something of SQLAlchemy's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import psycopg
from psycopg.conninfo import make_conninfo
from tenacity import Retrying

from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.direct import RETRY, AsyncDirectBackend, DirectBackend
from pgchroma.backends.sources import (
    AsyncCallerConnection,
    AsyncEngineSource,
    AsyncPoolSource,
    AsyncSource,
    CallerConnection,
    EngineSource,
    PoolSource,
    Source,
)
from pgchroma.backends.urls import place_of
from pgchroma.catalog.upgrade import ServerFacts, prepare
from pgchroma.compactor.runner import CompactionSettings
from pgchroma.compactor.thread import Compactor
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.store import StoreContext, run
from pgchroma.store.locations import Activity
from pgchroma.store.roles import prepare_roles
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import Sessions

__all__ = ("compaction_settings", "connect", "connect_async")


def connect(target: object, settings: Settings, patience: float | None = None) -> DirectBackend:
    """Make sure a database can be worked with, and make the backend that does.

    Args:
        target: A URL or a libpq connection string; or a SQLAlchemy engine, connection or session.
        settings: How many connections, and what to do with an empty database.
        patience: Seconds that an operation goes on trying to connect to a database that went away;
            None: as long as it may wait for a connection.
    """
    if isinstance(target, str):
        return _by_url(target, settings, patience)
    return _by_owner(target, settings)


async def connect_async(
    target: object, settings: Settings, patience: float | None = None
) -> AsyncDirectBackend:
    """Do what `connect` does; the SQLAlchemy objects are the asynchronous ones."""
    if isinstance(target, str):
        return await _by_url_async(target, settings, patience)
    return await _by_owner_async(target, settings)


def _by_url(url: str, settings: Settings, patience: float | None) -> DirectBackend:
    conninfo = complete_conninfo(url)
    # The first connection is made outside the pool, which would try for as long as it may.
    facts = _look(conninfo, settings)
    sessions = Sessions(settings.pgchroma_prepared_statements)
    source = PoolSource(conninfo, sessions=sessions, patience=patience, **_pool(settings))
    compactor = _compactor(conninfo, settings)
    context = _environment(facts, settings, compactor, sessions)
    return DirectBackend(source, context, compactor, **_executing(settings))


def _by_owner(owner: object, settings: Settings) -> DirectBackend:
    sessions = Sessions(settings.pgchroma_prepared_statements)
    source = _source(owner, sessions)
    _refuse_joined(source, settings)
    with mapped_errors(), source.lend() as connection:
        facts = _prepare(connection, settings)
        conninfo = _conninfo_of(connection)
    compactor = None if source.in_caller_transaction else _compactor(conninfo, settings)
    context = _environment(
        facts, settings, compactor, sessions, in_caller_transaction=source.in_caller_transaction
    )
    executing = _executing(settings, in_caller_transaction=source.in_caller_transaction)
    return DirectBackend(source, context, compactor, **executing)


def _source(owner: object, sessions: Sessions) -> Source:
    from sqlalchemy import Connection, Engine  # noqa: PLC0415  (here the caller has it anyway)
    from sqlalchemy.orm import Session  # noqa: PLC0415

    if isinstance(owner, Engine):
        return EngineSource(owner, sessions)
    if isinstance(owner, Connection | Session):
        return CallerConnection(owner, sessions)
    raise InvalidArgumentError(
        f"expected a URL, or a SQLAlchemy Engine, Connection or Session, got {owner!r}"
    )


async def _by_url_async(url: str, settings: Settings, patience: float | None) -> AsyncDirectBackend:
    conninfo = complete_conninfo(url)
    facts = await asyncio.to_thread(_look, conninfo, settings)
    sessions = Sessions(settings.pgchroma_prepared_statements)
    source = AsyncPoolSource(conninfo, sessions=sessions, patience=patience, **_pool(settings))
    compactor = _compactor(conninfo, settings)
    context = _environment(facts, settings, compactor, sessions)
    return AsyncDirectBackend(source, context, compactor, **_executing(settings))


async def _by_owner_async(owner: object, settings: Settings) -> AsyncDirectBackend:
    sessions = Sessions(settings.pgchroma_prepared_statements)
    source = _async_source(owner, sessions)
    _refuse_joined(source, settings)
    with mapped_errors():
        async with source.lend() as connection:
            conninfo = _conninfo_of(connection)
    facts = await asyncio.to_thread(_look, conninfo, settings)
    compactor = None if source.in_caller_transaction else _compactor(conninfo, settings)
    context = _environment(
        facts, settings, compactor, sessions, in_caller_transaction=source.in_caller_transaction
    )
    executing = _executing(settings, in_caller_transaction=source.in_caller_transaction)
    return AsyncDirectBackend(source, context, compactor, **executing)


def _refuse_joined(source: Source | AsyncSource, settings: Settings) -> None:
    if source.in_caller_transaction and settings.pgchroma_role_per_tenant:
        raise InvalidArgumentError(
            "pgchroma_role_per_tenant changes the role in every transaction, and this one is "
            "yours: connect with a URL or an engine, or switch it off"
        )


def _prepare(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    # Others read the catalog meanwhile, in whose way what alters several of its tables may come.
    return Retrying(**RETRY)(_prepare_once, connection, settings)


def _prepare_once(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    facts = prepare(connection, settings.migrations)
    if settings.pgchroma_role_per_tenant:
        is_strict = settings.pgchroma_role_per_tenant != "unsealed"
        run(connection, prepare_roles(is_strict=is_strict))
    return facts


def _look(conninfo: str, settings: Settings) -> ServerFacts:
    # Alembic is synchronous, so the catalog is looked after on a connection of its own.
    place = place_of(conninfo)
    with mapped_errors(place), psycopg.connect(conninfo, autocommit=True) as connection:
        return _prepare(connection, settings)


def _async_source(owner: object, sessions: Sessions) -> AsyncSource:
    from sqlalchemy.ext.asyncio import (  # noqa: PLC0415
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
    )

    if isinstance(owner, AsyncEngine):
        return AsyncEngineSource(owner, sessions)
    if isinstance(owner, AsyncConnection | AsyncSession):
        return AsyncCallerConnection(owner, sessions)
    raise InvalidArgumentError(
        "expected a URL, or a SQLAlchemy AsyncEngine, AsyncConnection or AsyncSession, "
        f"got {owner!r}"
    )


def _pool(settings: Settings) -> dict[str, Any]:
    return {
        "size": settings.pgchroma_pool_size,
        "timeout": settings.pgchroma_pool_timeout,
    }


def _executing(settings: Settings, *, in_caller_transaction: bool = False) -> dict[str, Any]:
    connections = min(settings.pgchroma_query_connections, settings.pgchroma_pool_size)
    return {
        "query_connections": 1 if in_caller_transaction else connections,
        "request_timeout": settings.pgchroma_request_timeout,
    }


def _conninfo_of(connection: psycopg.BaseConnection[Any]) -> str:
    info = connection.info
    return make_conninfo(info.dsn, password=info.password or None)


def _compactor(conninfo: str, settings: Settings) -> Compactor | None:
    if not settings.pgchroma_compaction:
        return None
    url = settings.pgchroma_compaction_url
    observed = Activity(takes_filters=settings.pgchroma_auto_index)
    target = complete_conninfo(conninfo if url is None else url)
    return Compactor(target, compaction_settings(settings), observed)


def compaction_settings(settings: Settings) -> CompactionSettings:
    """Return what compaction is told of the settings."""
    return CompactionSettings(
        settings.pgchroma_segment_bytes,
        settings.pgchroma_index_memory,
        settings.pgchroma_auto_index,
    )


def _environment(
    facts: ServerFacts,
    settings: Settings,
    compactor: Compactor | None,
    sessions: Sessions,
    *,
    in_caller_transaction: bool = False,
) -> StoreContext:
    timeouts = [round(settings.pgchroma_regex_timeout * 1000), facts.statement_timeout_ms]
    context = StoreContext(
        cast("int", facts.vector_oid),
        # In the caller's transaction the caller's own limit applies.
        regex_timeout_ms=None
        if in_caller_transaction
        else min(limit for limit in timeouts if limit),
        caches_nothing=in_caller_transaction,
        allows_reset=settings.allow_reset,
        limits=Limits(settings.pgchroma_max_batch_size),
        has_tenant_roles=bool(settings.pgchroma_role_per_tenant),
        segment_bytes=settings.pgchroma_segment_bytes,
        observed=None if compactor is None else compactor.observed,
    )
    sessions.note_vector_oid = context.note_vector_oid
    return context
