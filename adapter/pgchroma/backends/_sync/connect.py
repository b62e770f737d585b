# Generated from _async/connect.py by tools/unasync.py; edit that and run `make fmt`.
"""Connect to a database named by a URL, or through SQLAlchemy."""

from __future__ import annotations

from pgchroma.backends._sync.direct import DirectBackend
from pgchroma.backends._sync.io import in_thread
from pgchroma.backends._sync.sources import ConnectionSource, PoolSource
from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.preparing import (
    check_roles_allowed,
    execution_options,
    make_compactor,
    make_context,
    make_proposers,
    pool_options,
    prepare_by_conninfo,
)
from pgchroma.catalog.server_facts import ServerFacts
from pgchroma.config import Settings
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import Sessions

__all__ = ("connect", "connect_url")


def connect(target: object, settings: Settings, patience: float | None = None) -> DirectBackend:
    """Check that a database can be used, and return a backend on it.

    Args:
        target: A URL or a libpq connection string; or an engine, connection or session of
            SQLAlchemy's.
        settings: How many connections to open, and what to do with an empty database.
        patience: Seconds that an operation keeps trying to connect to a database that is not
            available; `None` means as long as it may wait for a connection.
    """
    if isinstance(target, str):
        return in_thread(connect_url, target, settings, patience)
    return _connect_owner(target, settings)


def connect_url(url: str, settings: Settings, patience: float | None = None) -> DirectBackend:
    """Return a backend on the database of a URL; see `connect`. This blocks."""
    conninfo = complete_conninfo(url)
    # The first connection is made outside the pool, which would keep trying.
    facts = prepare_by_conninfo(conninfo, settings)
    sessions = Sessions(settings.pgchroma_prepared_statements, are_own=True)
    source = PoolSource(conninfo, sessions=sessions, patience=patience, **pool_options(settings))
    return _backend(source, conninfo, facts, settings, sessions)


def _connect_owner(owner: object, settings: Settings) -> DirectBackend:
    # Only a caller that has SQLAlchemy's objects has to import it.
    from pgchroma.backends._sync.sqlalchemy import source_of  # noqa: PLC0415
    from pgchroma.backends._sync.sqlalchemy_types import prepare_owned  # noqa: PLC0415

    sessions = Sessions(settings.pgchroma_prepared_statements)
    source = source_of(owner, sessions)
    check_roles_allowed(settings, in_caller_transaction=source.in_caller_transaction)
    with mapped_errors():
        conninfo, facts = prepare_owned(source, settings)
    return _backend(source, conninfo, facts, settings, sessions)


def _backend(
    source: ConnectionSource,
    conninfo: str,
    facts: ServerFacts,
    settings: Settings,
    sessions: Sessions,
) -> DirectBackend:
    in_caller_transaction = source.in_caller_transaction
    compactor = None if in_caller_transaction else make_compactor(conninfo, settings)
    proposers = make_proposers(conninfo, settings, in_caller_transaction=in_caller_transaction)
    context = make_context(
        facts, settings, compactor, sessions, proposers, in_caller_transaction=in_caller_transaction
    )
    options = execution_options(settings, in_caller_transaction=in_caller_transaction)
    return DirectBackend(source, context, compactor, **options)
