"""Reading the embeddings of a segment, and the row that makes an index of them usable.

A position is drawn once, and its embedding never changes: a new embedding takes a new position.
So of a segment, to which no position is drawn any more, an index can only have too much, as
embeddings are replaced and deleted. It must never lack one. It would if it were made

- while a writer that has drawn a position of the segment has not committed: all writers that may
  have are awaited;
- of a table that is still being filled by `reembed`: the generation has to be the current one;
- of a segment whose positions may be drawn again: its collection's sequence has to be past it;
- of another table at the same place, as after a restore: the row names PostgreSQL's file of it.

The row is inserted after the embeddings were read. A snapshot in which the row is visible was
therefore taken later, and has no embedding that the index lacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import IsolationLevel, sql
from psycopg import errors as pg

from pgchroma.memory.files import SegmentKey
from pgchroma.model.types import Space
from pgchroma.store import run
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, Steps, render
from pgchroma.store.running.transaction_settings import set_role

__all__ = (
    "SegmentRows",
    "SourceSegment",
    "VanishedError",
    "await_writers",
    "find_segment",
    "find_tokens",
    "insert_token",
    "may_insert_token",
    "read_rows",
)

POLL_SECONDS: Final = 0.1
"""Seconds between two checks whether writers have committed."""

MAX_WAIT_SECONDS: Final = 60.0
"""How long writers are awaited. Other segments may be waiting."""

MAX_TOKENS: Final = 16
"""How many indexes of a segment are known, one for each host. Of others, those of the last day are:
a host whose index is forgotten builds it again."""

BLOCK_BYTES: Final = 1 << 20
"""Embeddings are decoded in blocks of this size, or a little more."""

_COPY_HEAD_BYTES: Final = 19
_COPY_END: Final = b"\xff\xff"


class VanishedError(Exception):
    """The segment no longer exists, or no index can be made of it."""


@dataclass(frozen=True, slots=True)
class SourceSegment:
    """A segment as the catalog has it.

    Attributes:
        id: The key of its row.
        role: The tenant's role, if it owns the table: reading it may run code of the tenant.
    """

    id: int
    key: SegmentKey
    tables: CollectionTables
    space: Space
    dimension: int
    role: str | None


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """The embeddings of a segment.

    Attributes:
        filenode: PostgreSQL's file of the table that they were read from.
        positions: Their positions.
        matrix: One row for each.
    """

    filenode: int
    positions: NDArray[np.int64]
    matrix: NDArray[np.float32]


def find_segment(connection: psycopg.Connection[Any], key: SegmentKey) -> SourceSegment:
    """Return a segment of a collection's current embeddings whose index is ready.

    Raises:
        VanishedError: There is none.
    """
    found: SourceSegment = run(connection, _find_segment(key))
    return found


def await_writers(
    connection: psycopg.Connection[Any], segment: SourceSegment, wait: Callable[[float], bool]
) -> bool:
    """Wait until all transactions have ended that may have drawn a position of the segment.

    They were drawn before the segment's row was inserted, by transactions that hold a lock on the
    collection's records since before they drew one.

    Args:
        connection: A connection outside a transaction.
        segment: The segment.
        wait: Waits for some seconds, and returns whether to give up.

    Returns:
        False if it gave up, or if a transaction lasts too long.
    """
    until = time.monotonic() + MAX_WAIT_SECONDS
    writers = _writers(connection, segment)
    while writers:
        if wait(POLL_SECONDS) or time.monotonic() > until:
            return False
        writers &= _writers(connection, segment)
    return True


def read_rows(
    connection: psycopg.Connection[Any],
    segment: SourceSegment,
    max_bytes: int,
    wait: Callable[[float], bool],
) -> SegmentRows:
    """Read the embeddings of a segment as they are in one snapshot.

    Args:
        connection: A connection outside a transaction.
        segment: The segment, whose writers have committed.
        max_bytes: How long the embeddings may be together.
        wait: Returns whether to give up.

    Raises:
        VanishedError: It no longer exists, or its embeddings are too long.
    """
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    with connection.transaction():
        # The first statement takes the snapshot.
        if find_segment(connection, segment.key) != segment:
            raise VanishedError("it was replaced")
        connection.execute(b"set local statement_timeout = 0")
        if segment.role is not None:
            role = set_role(segment.role)
            connection.execute(role.text, role.parameters)
        return _copy(connection, segment, max_bytes, wait)


def find_tokens(connection: psycopg.Connection[Any], segment: SourceSegment) -> list[str]:
    """Return the tokens of a segment's indexes, the newest first."""
    parameters = {"id": segment.id, "table": segment.tables.vectors.as_string(None)}
    return [row[0] for row in connection.execute(_TOKENS, parameters)]


def may_insert_token(connection: psycopg.Connection[Any]) -> bool:
    """Whether the user may make an index usable."""
    rows = connection.execute(_MAY_INSERT).fetchone()
    return rows is not None and bool(rows[0])


def insert_token(
    connection: psycopg.Connection[Any], segment: SourceSegment, token: str, filenode: int
) -> bool:
    """Insert the row that makes an index usable; return false if the segment has vanished."""
    parameters = {
        "token": token,
        "id": segment.id,
        "filenode": filenode,
        **_parameters(segment.key),
    }
    try:
        inserted = connection.execute(_INSERT, parameters).rowcount == 1
    except pg.ForeignKeyViolation:
        # It was deleted just now.
        return False
    kept = {"id": segment.id, "filenode": filenode, "kept": MAX_TOKENS}
    connection.execute(_DELETE_OLD, kept)
    return inserted


def _find_segment(key: SegmentKey) -> Steps[SourceSegment]:
    rows = yield Statement(_FIND, _parameters(key))
    if not rows:
        raise VanishedError("it no longer exists, or this is a standby")
    id, schema, space, dimension, tenant_role = rows[0]
    tables = CollectionTables(schema, key.collection, key.generation)
    names = {"table": tables.vectors.as_string(None), "log": tables.log.as_string(None)}
    owner, last = (yield Statement(_OWNER, names))[0]
    if owner is None or last is None or last < key.end_pos - 1:
        raise VanishedError("its positions may be drawn again")
    role = tenant_role if owner == tenant_role else None
    return SourceSegment(id, key, tables, space, dimension, role)


def _writers(connection: psycopg.Connection[Any], segment: SourceSegment) -> set[str]:
    tables = segment.tables
    names = [table.as_string(None) for table in (tables.records, tables.vectors)]
    return {row[0] for row in connection.execute(_WRITERS, {"tables": names})}


def _copy(
    connection: psycopg.Connection[Any],
    segment: SourceSegment,
    max_bytes: int,
    wait: Callable[[float], bool],
) -> SegmentRows:
    parts: dict[str, sql.Composable] = {
        "vectors": segment.tables.vectors,
        "first": sql.Literal(segment.key.first_pos),
        "end": sql.Literal(segment.key.end_pos),
        "table": sql.Literal(segment.tables.vectors.as_string(None)),
    }
    # The first statement locks the table, so its file stays.
    count, filenode = connection.execute(render(_COUNT, **parts)).fetchone() or (0, 0)
    if not 0 < 4 * segment.dimension * count <= max_bytes:
        raise VanishedError(f"{count} embeddings are not copied into memory")
    positions = np.empty(count, np.int64)
    matrix = np.empty((count, segment.dimension), np.float32)
    filled = 0
    with connection.cursor() as cursor, cursor.copy(render(_COPY, **parts)) as copy:
        for block in _blocks(iter(copy), segment.dimension):
            if wait(0.0):
                raise VanishedError("the process ends")
            end = filled + len(block)
            positions[filled:end] = block["pos"]
            matrix[filled:end] = block["vector"]
            filled = end
    return SegmentRows(filenode, positions, matrix)


def _blocks(messages: Iterator[Any], dimension: int) -> Iterator[NDArray[np.void]]:
    """Decode PostgreSQL's binary format of rows of a position and a vector."""
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("pos_bytes", ">i4"),
            ("pos", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (dimension,)),
        ]
    )
    raw = bytearray()
    is_first = True
    for message in messages:
        raw += message
        if is_first and len(raw) >= _COPY_HEAD_BYTES:
            del raw[:_COPY_HEAD_BYTES]
            is_first = False
        if len(raw) >= BLOCK_BYTES:
            whole = len(raw) // row.itemsize * row.itemsize
            yield np.frombuffer(bytes(raw[:whole]), row)
            del raw[:whole]
            # Threads that answer requests come first.
            time.sleep(0)
    yield np.frombuffer(bytes(raw.removesuffix(_COPY_END)), row)


def _parameters(key: SegmentKey) -> dict[str, Any]:
    return {
        "collection": key.collection,
        "generation": key.generation,
        "first": key.first_pos,
        "end": key.end_pos,
    }


_FIND = render(
    """
    select s.id, d.schema_name, c.configuration -> 'hnsw' ->> 'space', c.dimension, t.role_name
    from pgchroma.segments as s
    join pgchroma.collections as c on c.id = s.collection_id and c.generation = s.generation
    join pgchroma.databases as d on d.id = c.database_id
    join pgchroma.tenants as t on t.name = d.tenant
    where s.collection_id = %(collection)s and s.generation = %(generation)s
        and s.first_pos = %(first)s and s.end_pos = %(end)s and s.is_ready
        and not pg_is_in_recovery()
    order by s.id desc
    limit 1
    """
)

_OWNER = render(
    """
    select
        (select pg_get_userbyid(relowner) from pg_catalog.pg_class
            where oid = to_regclass(%(table)s)),
        pg_sequence_last_value(to_regclass(%(log)s))
    """
)

# A prepared transaction has no process.
_WRITERS = render(
    """
    select distinct l.virtualtransaction
    from pg_catalog.pg_locks as l
    where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
        and l.mode in ('RowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        and l.database = (
            select oid from pg_catalog.pg_database where datname = current_database()
        )
        and l.relation = any(array(
            select to_regclass(name)::oid from unnest(%(tables)s::text[]) as name
        ))
    """
)

_COUNT: LiteralString = """
select count(*), pg_relation_filenode({table}::regclass) from {vectors}
where pos >= {first} and pos < {end}
"""

_COPY: LiteralString = """
copy (select pos, embedding from {vectors} where pos >= {first} and pos < {end} order by pos)
to stdout (format binary)
"""

_TOKENS = render(
    """
    select token::text from pgchroma.memory_indexes
    where segment_id = %(id)s and filenode = pg_relation_filenode(to_regclass(%(table)s))
    order by created_at desc
    """
)

_INSERT = render(
    """
    insert into pgchroma.memory_indexes (token, segment_id, filenode)
    select %(token)s, s.id, %(filenode)s
    from pgchroma.segments as s
    join pgchroma.collections as c on c.id = s.collection_id and c.generation = s.generation
    where s.id = %(id)s and s.collection_id = %(collection)s and s.generation = %(generation)s
        and s.first_pos = %(first)s and s.end_pos = %(end)s and s.is_ready
    """
)

_MAY_INSERT = render(
    """
    select has_table_privilege('pgchroma.memory_indexes', 'insert')
        and has_table_privilege('pgchroma.memory_indexes', 'delete')
        and current_setting('transaction_read_only') = 'off'
    """
)

_DELETE_OLD = render(
    """
    delete from pgchroma.memory_indexes where token in (
        select token from pgchroma.memory_indexes where segment_id = %(id)s
        order by filenode = %(filenode)s desc, created_at desc, token
        offset %(kept)s
    ) and created_at < now() - interval '1 day'
    """
)
