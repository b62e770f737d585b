"""Backends made from what a caller names a database by: a URL, or something of SQLAlchemy's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

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
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.schema import ServerFacts, prepare
from pgchroma.store import Environment, run
from pgchroma.store.faults import translated
from pgchroma.store.roles import prepare_roles

__all__ = ("connect", "connect_async", "plain_conninfo")


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
    return DirectBackend(source, _environment(facts, settings))


def _by_owner(owner: object, settings: Settings) -> DirectBackend:
    source = _source(owner)
    _refuse_joined(source, settings)
    with translated(), source.lend() as connection:
        facts = _prepare(connection, settings)
    return DirectBackend(source, _environment(facts, settings, is_joined=source.is_joined))


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
    return AsyncDirectBackend(source, _environment(facts, settings))


async def _by_owner_async(owner: object, settings: Settings) -> AsyncDirectBackend:
    source = _async_source(owner)
    _refuse_joined(source, settings)
    with translated():
        async with source.lend() as connection:
            info = connection.info
    conninfo = make_conninfo(info.dsn, password=info.password or None)
    facts = await asyncio.to_thread(_look, conninfo, settings)
    return AsyncDirectBackend(source, _environment(facts, settings, is_joined=source.is_joined))


def _refuse_joined(source: Source | AsyncSource, settings: Settings) -> None:
    if source.is_joined and settings.pgchroma_role_per_tenant:
        raise InvalidArgumentError(
            "pgchroma_role_per_tenant changes the role in every transaction, and this one is "
            "yours: connect with a URL or an engine, or switch it off"
        )


def _prepare(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
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
    return url


def _pool(settings: Settings) -> dict[str, Any]:
    return {
        "size": settings.pgchroma_pool_size,
        "timeout": settings.pgchroma_pool_timeout,
        "prepares": settings.pgchroma_prepared_statements,
    }


def _environment(facts: ServerFacts, settings: Settings, *, is_joined: bool = False) -> Environment:
    timeouts = [round(settings.pgchroma_regex_timeout * 1000), facts.statement_timeout_ms]
    return Environment(
        cast("int", facts.vector_oid),
        # In the caller's transaction his own limit holds.
        regex_timeout_ms=None if is_joined else min(limit for limit in timeouts if limit),
        is_forgetful=is_joined,
        allows_reset=settings.allow_reset,
        limits=Limits(settings.pgchroma_max_batch_size),
        has_tenant_roles=bool(settings.pgchroma_role_per_tenant),
    )
