"""Settings of size: whether memory, locks and connections suffice for the data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import catalog_check, server_check
from pgchroma.doctor.collections import known_collections
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, info, warning
from pgchroma.doctor.server_settings import read_settings, shown_bytes
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

CONTAINER_SHARED_BYTES: Final = 64 << 20
"""The shared memory of a container that does not ask for more."""

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108

BUSY_SHARE: Final = 0.8
"""The share of the connections, or of the locks, from which on there is a warning."""

COMPACTOR_CONNECTIONS: Final = 2
"""The connections of a compactor, besides those of its process's pool."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of the data, as PostgreSQL's statistics have them.

    Attributes:
        indexes: The bytes of all HNSW indexes.
        tables: The number of tables in the database.
    """

    indexes: int
    tables: int


@dataclass(frozen=True, slots=True)
class _Connections:
    """The connections to the server.

    Attributes:
        used: How many there are.
        reserved: How many are reserved for superusers and for roles with that privilege.
        of_role: The limit of the user's role; -1 if there is none.
        of_database: The limit of the database; -1 if there is none.
    """

    used: int
    maximum: int
    reserved: int
    user: str
    database: str
    of_role: int
    of_database: int

    @property
    def available(self) -> int:
        """How many connections this user can have at most."""
        limits = [limit for limit in (self.of_role, self.of_database) if limit >= 0]
        return min([self.maximum - self.reserved, *limits])


@server_check("shared-buffers")
def _shared_buffers(database: Database) -> Iterator[Finding]:
    settings, sizes = database.shared(read_settings), database.shared(_read_sizes)
    buffers = int(settings.number("shared_buffers"))
    cache = int(settings.number("effective_cache_size"))
    what = f"the HNSW indexes have {shown_bytes(sizes.indexes)}, and "
    command = f"alter system set shared_buffers = '{_megabytes(sizes.indexes * 5 // 4)}MB'"
    if sizes.indexes > max(buffers, cache):
        yield warning(
            "server",
            f"{what}effective_cache_size is {shown_bytes(cache)}",
            "a search reads hundreds of pages at random places, many of them from the disk",
            command,
            index_bytes=sizes.indexes,
            shared_buffers_bytes=buffers,
            cache_bytes=cache,
        )
    elif sizes.indexes > buffers:
        yield info(
            "server",
            f"{what}shared_buffers is {shown_bytes(buffers)}",
            "pages that are not in shared_buffers come from the operating system's cache",
            command,
            index_bytes=sizes.indexes,
            shared_buffers_bytes=buffers,
            cache_bytes=cache,
        )


@catalog_check("maintenance-memory")
def _maintenance_memory(database: Database) -> Iterator[Finding]:
    memory = int(database.shared(read_settings).number("maintenance_work_mem"))
    largest = max(
        database.shared(known_collections), key=lambda each: each.build_bytes, default=None
    )
    limit = database.settings.pgchroma_index_memory
    needed = 0 if largest is None else min(largest.build_bytes, limit)
    if largest is not None and needed > memory:
        yield info(
            largest.subject,
            f"building the largest index takes {shown_bytes(needed)}, and maintenance_work_mem is "
            f"{shown_bytes(memory)}",
            "pg_restore and reindex take several times as long; the compactor sets its own memory",
            f"alter system set maintenance_work_mem = '{_megabytes(needed)}MB'",
            build_bytes=needed,
            maintenance_work_mem_bytes=memory,
        )


@catalog_check("shared-memory")
def _shared_memory(database: Database) -> Iterator[Finding]:
    settings = database.shared(read_settings)
    kind = settings.of_session["dynamic_shared_memory_type"].value
    if kind == "mmap":
        yield warning(
            "server",
            "dynamic_shared_memory_type is mmap",
            "parallel builds and queries write their shared memory to the disk",
            "alter system set dynamic_shared_memory_type = posix",
        )
        return
    limit = database.settings.pgchroma_index_memory
    collections = database.shared(known_collections)
    needed = min(max((each.build_bytes for each in collections), default=0), limit)
    size = _local_shared_memory(database)
    reserved = int(settings.number("min_dynamic_shared_memory"))
    if kind != "posix" or needed <= max(reserved, size or CONTAINER_SHARED_BYTES):
        return
    seen = "which SQL does not show" if size is None else f"which has {shown_bytes(size)}"
    yield info(
        "server",
        f"a parallel build of the largest index needs {shown_bytes(needed)} of /dev/shm, {seen}",
        "with less, one process builds the index, which takes several times as long; a container "
        "has 64 MB unless it is started with more",
        f"docker run --shm-size={_megabytes(needed)}m",
        build_bytes=needed,
    )


@server_check("lock-table")
def _lock_table(database: Database) -> Iterator[Finding]:
    settings, sizes = database.shared(read_settings), database.shared(_read_sizes)
    per_transaction = int(settings.number("max_locks_per_transaction"))
    sessions = int(settings.number("max_connections"))
    sessions += int(settings.number("max_prepared_transactions"))
    capacity = per_transaction * sessions
    if sizes.tables > BUSY_SHARE * capacity:
        yield warning(
            "server",
            f"the database has {sizes.tables} tables, and PostgreSQL can lock about {capacity}",
            "pg_dump locks all tables at once and fails with 'out of shared memory'",
            f"alter system set max_locks_per_transaction = {2 * sizes.tables // sessions + 1}",
            tables=sizes.tables,
            locks=capacity,
        )


@server_check("connections")
def _connections(database: Database) -> Iterator[Finding]:
    found = _Connections(*database.row(_CONNECTIONS))
    more = f"alter system set max_connections = {2 * found.maximum}"
    if found.used > BUSY_SHARE * (found.maximum - found.reserved):
        yield warning(
            "server",
            f"{found.used} of {found.maximum - found.reserved} connections are in use",
            "further clients are refused",
            more,
            used=found.used,
            available=found.available,
        )
    pool = database.settings.pgchroma_pool_size + COMPACTOR_CONNECTIONS
    if pool > found.available:
        yield warning(
            "server",
            f"a client's pool has up to {pool} connections, and the user can have "
            f"{found.available}",
            "requests wait for a connection or fail while the client is busy",
            more if found.available == found.maximum - found.reserved else _raised(found, pool),
            pool=pool,
            used=found.used,
            available=found.available,
        )


def _raised(found: _Connections, pool: int) -> str:
    """Return the statement that raises the limit of the role or of the database."""
    if found.available == found.of_role:
        role = sql.Identifier(found.user).as_string(None)
        return f"alter role {role} connection limit {2 * pool}"
    name = sql.Identifier(found.database).as_string(None)
    return f"alter database {name} connection limit {2 * pool}"


def _megabytes(count: int) -> int:
    return (count >> 20) + 1


def _local_shared_memory(database: Database) -> int | None:
    """Return the bytes of /dev/shm if PostgreSQL runs on this machine; `None` otherwise."""
    host = database.connection.info.host
    if not host.startswith("/") or not SHARED_MEMORY.is_dir():
        return None
    found = os.statvfs(SHARED_MEMORY)
    return found.f_blocks * found.f_frsize


def _read_sizes(database: Database) -> _Sizes:
    return _Sizes(*database.row(_SIZES))


_SIZES: Final = render(
    """
    select
        coalesce(
            sum(c.relpages) filter (where a.amname = 'hnsw'), 0
        )::bigint * current_setting('block_size')::bigint,
        count(*) filter (where c.relkind in ('r', 'p'))
    from pg_catalog.pg_class as c
    left join pg_catalog.pg_am as a on a.oid = c.relam
    """
)

_CONNECTIONS: Final = render(
    """
    select
        (
            select count(*) from pg_catalog.pg_stat_activity
            where datid is not null
                and coalesce(backend_type, 'client backend') = 'client backend'
        ),
        current_setting('max_connections')::int,
        current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0),
        current_user::text,
        current_database()::text,
        (select rolconnlimit from pg_catalog.pg_roles where rolname = current_user),
        (select datconnlimit from pg_catalog.pg_database where datname = current_database())
    """
)

CHECKS: Final = (
    _shared_buffers,
    _maintenance_memory,
    _shared_memory,
    _lock_table,
    _connections,
)
