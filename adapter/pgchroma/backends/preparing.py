"""Prepare a database and what a direct backend works with: nothing here is asynchronous."""

from __future__ import annotations

import logging
from typing import Any, cast

import platformdirs
import psycopg
from psycopg.conninfo import make_conninfo
from tenacity import Retrying

from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.retries import RETRY
from pgchroma.backends.urls import address_of
from pgchroma.catalog.roles import prepare_roles
from pgchroma.catalog.server_facts import ServerFacts
from pgchroma.catalog.upgrade import prepare
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.thread import Compactor
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError, MissingExtraError
from pgchroma.extras import check_installed
from pgchroma.model.entities import Limits
from pgchroma.store import StoreContext, run
from pgchroma.store.activity import Activity
from pgchroma.store.proposers import Proposers
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import Sessions

__all__ = (
    "check_roles_allowed",
    "compaction_settings",
    "conninfo_of",
    "execution_options",
    "make_compactor",
    "make_context",
    "make_proposers",
    "pool_options",
    "prepare_by_conninfo",
    "prepare_catalog",
)

_log = logging.getLogger("pgchroma.memory")


def prepare_by_conninfo(conninfo: str, settings: Settings) -> ServerFacts:
    """Check or upgrade the catalog of a database, on a connection for this alone."""
    address = address_of(conninfo)
    with mapped_errors(address), psycopg.connect(conninfo, autocommit=True) as connection:
        return prepare_catalog(connection, settings)


def prepare_catalog(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    """Check or upgrade the catalog of a connection's database."""
    # An upgrade that alters several tables can conflict with clients that read them.
    return Retrying(**RETRY)(_prepare_once, connection, settings)


def _prepare_once(connection: psycopg.Connection[Any], settings: Settings) -> ServerFacts:
    facts = prepare(connection, settings.migrations)
    if settings.pgchroma_role_per_tenant:
        is_strict = settings.pgchroma_role_per_tenant != "permissive"
        run(connection, prepare_roles(is_strict=is_strict))
    return facts


def check_roles_allowed(settings: Settings, *, in_caller_transaction: bool) -> None:
    """Refuse to set roles inside the caller's transaction.

    Raises:
        InvalidArgumentError: The settings ask for a role per tenant.
    """
    if in_caller_transaction and settings.pgchroma_role_per_tenant:
        raise InvalidArgumentError(
            "pgchroma_role_per_tenant changes the role in every transaction, and this one is "
            "yours: connect with a URL or an engine, or switch it off"
        )


def conninfo_of(connection: psycopg.BaseConnection[Any]) -> str:
    """Return a connection string that leads where a connection does."""
    info = connection.info
    return make_conninfo(info.dsn, password=info.password or None)


def pool_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a pool."""
    return {"size": settings.pgchroma_pool_size, "timeout": settings.pgchroma_pool_timeout}


def execution_options(settings: Settings, *, in_caller_transaction: bool) -> dict[str, Any]:
    """Return the options of a direct backend."""
    connections = min(settings.pgchroma_query_connections, settings.pgchroma_pool_size)
    return {
        "query_connections": 1 if in_caller_transaction else connections,
        "request_timeout": settings.pgchroma_request_timeout,
    }


def make_compactor(conninfo: str, settings: Settings) -> Compactor | None:
    """Return a compactor that has not been started, if the settings ask for one."""
    if not settings.pgchroma_compaction:
        return None
    url = settings.pgchroma_compaction_url
    observed = Activity(takes_filters=settings.pgchroma_auto_index)
    target = complete_conninfo(conninfo if url is None else url)
    return Compactor(target, compaction_settings(settings), observed)


def compaction_settings(settings: Settings) -> CompactionSettings:
    """Return the settings of compaction."""
    return CompactionSettings(
        settings.pgchroma_segment_bytes,
        settings.pgchroma_index_memory,
        settings.pgchroma_auto_index,
    )


def make_proposers(
    conninfo: str, settings: Settings, *, in_caller_transaction: bool
) -> Proposers | None:
    """Return the indexes in the memory of this process, if the settings ask for them.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    if not settings.pgchroma_memory_index:
        return None
    check_installed("faiss", extra="memory")
    try:
        from pgchroma.memory.directory import Directory  # noqa: PLC0415  (only where it is used)
        from pgchroma.memory.indexes import MemoryIndexes  # noqa: PLC0415
    except MissingExtraError:
        raise
    except ImportError as error:
        # Answers are the same without it.
        _log.warning("no indexes in memory, because faiss cannot be imported: %s", error)
        return None

    path = settings.pgchroma_memory_index_path
    if path is None:
        path = platformdirs.user_cache_path("pgchroma") / "memory"
    # A build reads a snapshot of its own, which may be later than that of the caller.
    target = None if in_caller_transaction else settings.pgchroma_compaction_url or conninfo
    return MemoryIndexes(
        None if target is None else complete_conninfo(target),
        Directory(path, settings.pgchroma_memory_index_bytes),
    )


def make_context(
    facts: ServerFacts,
    settings: Settings,
    compactor: Compactor | None,
    sessions: Sessions,
    proposers: Proposers | None = None,
    *,
    in_caller_transaction: bool,
) -> StoreContext:
    """Return the context of the handlers on a database."""
    timeouts = [round(settings.pgchroma_regex_timeout * 1000), facts.statement_timeout_ms]
    context = StoreContext(
        cast("int", facts.vector_oid),
        cast("int", facts.sparsevec_oid),
        # Inside the caller's transaction, the caller's own limit applies.
        regex_timeout_ms=None
        if in_caller_transaction
        else min(limit for limit in timeouts if limit),
        caches_nothing=in_caller_transaction,
        allows_reset=settings.allow_reset,
        limits=Limits(settings.pgchroma_max_batch_size),
        has_tenant_roles=bool(settings.pgchroma_role_per_tenant),
        segment_bytes=settings.pgchroma_segment_bytes,
        default_index=settings.pgchroma_default_knn_index,
        observed=None if compactor is None else compactor.observed,
        proposers=proposers,
    )
    sessions.note_type_oids = context.set_type_oids
    return context
