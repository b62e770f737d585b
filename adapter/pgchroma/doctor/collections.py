"""The collections of the catalog, their tables, and statements over the tables of many of them.

A statement over the tables of collections has a part for each of up to fifty collections, so the
number of round trips stays far below the number of collections. Tables that a tenant's role owns
are read as that role.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, TypeAlias
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg import sql

from pgchroma.compactor.bookkeeping import LOCK_SPACE
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, not_checked
from pgchroma.model.hnsw import Quantization, clamped
from pgchroma.model.types import Space
from pgchroma.store.layout.names import key_of
from pgchroma.store.layout.segments import build_memory_per_row, effective_quantization
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.errors import has_lost_connection, primary_message
from pgchroma.store.running.steps import ComposedSQL, render, text_of

__all__ = (
    "KNOWN",
    "Answers",
    "KnownCollection",
    "known_collections",
    "over_collections",
    "readable_collections",
    "tables_of_known",
)

BATCH: Final = 50
"""Collections that one statement reads. Each has some ten relations, which PostgreSQL locks."""

TIMEOUTS: Final = 20
"""After as many times the limit of a statement, a check reads no more collections one by one."""

BATCH_ROWS: Final = 500_000
"""Rows that one statement reads, as far as PostgreSQL's statistics tell."""

_KNOWN: Final[LiteralString] = """(
    select
        c.id, c.name, d.tenant, d.name as database, d.schema_name, n.oid as namespace, k.key,
        c.generation, c.dimension, d.tenant || '/' || d.name || '/' || c.name as subject,
        exists (
            select from pg_catalog.pg_locks as l
            where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = {space}
                and l.objid = ('x' || left(k.key, 8))::bit(32)::bigint::oid
                and l.database = (
                    select oid from pg_catalog.pg_database where datname = current_database()
                )
        ) as is_locked
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    cross join lateral (select replace(c.id::text, '-', '')) as k (key)
    left join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    where %(names)s::text[] is null or c.name = any(%(names)s)
)"""

KNOWN: Final = ComposedSQL(render(_KNOWN, space=sql.Literal(LOCK_SPACE)))
"""A relation for statements: the collections that are examined, and whether a compactor works on
each."""


_TABLES: Final[LiteralString] = """join pg_catalog.pg_class as t
        on t.relnamespace = k.namespace and t.relkind = 'r' and {key} = k.key"""


@dataclass(frozen=True, slots=True)
class KnownCollection:
    """A collection of the catalog.

    Attributes:
        role: The tenant's role, if it owns the table of records.
        may_read: Whether the user may read all its tables, as that role if there is one.
        existing: The names of those of its tables and its sequence that exist.
        rows: About how many rows its table of embeddings has; -1 if PostgreSQL does not know.
        sparse: The numbers of its tables of sparse vectors.
        is_locked: Whether a compactor works on it.
    """

    id: UUID
    tenant: str
    database: str
    name: str
    schema: str
    generation: int
    dimension: int | None
    space: Space
    sync_threshold: int
    quantization: Quantization | None
    max_neighbors: int
    ef_search: int
    sparse: tuple[int, ...]
    role: str | None
    may_read: bool
    existing: frozenset[str]
    rows: int
    is_locked: bool

    @property
    def subject(self) -> str:
        """Its name in findings."""
        return f"{self.tenant}/{self.database}/{self.name}"

    @property
    def tables(self) -> CollectionTables:
        """The names of its tables."""
        return CollectionTables(self.schema, self.id, self.generation)

    @property
    def has_vectors(self) -> bool:
        """Whether its table of embeddings exists."""
        return self.tables.vectors_name in self.existing

    @property
    def expected(self) -> list[str]:
        """The names of the tables that it must have, and of its sequence."""
        names = [f"{kind}_{self.id.hex}" for kind in ("records", "counts", "log")]
        return names if self.dimension is None else [*names, self.tables.vectors_name]

    @property
    def is_complete(self) -> bool:
        """Whether all tables that it must have exist."""
        return self.existing.issuperset(self.expected)

    @property
    def build_bytes(self) -> int:
        """About how much memory building an index over all embeddings takes."""
        dimension = self.dimension or 0
        quantization = effective_quantization(self.quantization, dimension, self.space)
        return max(self.rows, 0) * build_memory_per_row(dimension, quantization, self.max_neighbors)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a statement over collections returned.

    Attributes:
        rows: The rows of each collection that has any.
        failures: The collections whose tables could not be read, and the error of each.
    """

    rows: list[tuple[KnownCollection, Sequence[Any]]] = field(default_factory=list)
    failures: list[tuple[KnownCollection, psycopg.Error]] = field(default_factory=list)

    def unread(self, check: str) -> Iterator[Finding]:
        """Yield what a check has to report about the collections that could not be read."""
        by_reason: dict[str, list[KnownCollection]] = {}
        for collection, failure in self.failures:
            by_reason.setdefault(primary_message(failure), []).append(collection)
        for reason, collections in by_reason.items():
            yield not_checked(
                check,
                f"{len(collections)} collections could not be read, {collections[0].subject} for "
                f"example: {reason}",
                collections=len(collections),
            )


_Part: TypeAlias = tuple[KnownCollection, sql.Composable]
"""A collection, and the select for it."""

Part: TypeAlias = Callable[[KnownCollection], sql.Composable | None]
"""Composes the select for one collection; `None` if it has nothing to read."""


def tables_of_known(*kinds: str) -> ComposedSQL:
    """Return a join for statements: with `KNOWN` as ``k``, the tables of its collections as ``t``.

    Args:
        kinds: The first words of the names of the tables; if there are none, of all tables.
    """
    return ComposedSQL(render(_TABLES, key=key_of("t.relname", *kinds)))


def known_collections(database: Database) -> list[KnownCollection]:
    """Return the collections that are examined, in the order of their ids."""
    return [_collection(row) for row in database.rows(_COLLECTIONS)]


def readable_collections(database: Database) -> list[KnownCollection]:
    """Return the collections with all their tables, which the user may read."""
    return [
        collection
        for collection in database.shared(known_collections)
        if collection.may_read and collection.is_complete
    ]


def over_collections(
    database: Database, collections: Sequence[KnownCollection], part: Part
) -> Answers:
    """Run a statement with a part for each collection, many collections at a time.

    If a statement fails, the collections are read one by one: a table may have been dropped, or be
    too long to be read in time. After many failures, the rest is left unread.

    Raises:
        psycopg.Error: The connection was lost.
    """
    answers = Answers()
    until = time.monotonic() + TIMEOUTS * database.seconds
    for batch in _batches(collections):
        parts = [(each, select) for each in batch if (select := part(each)) is not None]
        if not parts:
            continue
        try:
            answers.rows.extend(_read(database, parts))
        except psycopg.Error as error:
            if has_lost_connection(error):
                raise
            _read_one_by_one(database, parts, answers, until)
    return answers


def _read_one_by_one(
    database: Database, parts: Sequence[_Part], answers: Answers, until: float
) -> None:
    for pair in parts:
        if time.monotonic() > until:
            answers.failures.append((pair[0], pg.QueryCanceled("the check took too long")))
            continue
        try:
            answers.rows.extend(_read(database, [pair]))
        except pg.UndefinedTable:
            # It was deleted in the meantime; what is missing for longer is another check's.
            continue
        except psycopg.Error as failure:
            if has_lost_connection(failure):
                raise
            answers.failures.append((pair[0], failure))


def _read(
    database: Database, parts: Sequence[_Part]
) -> list[tuple[KnownCollection, Sequence[Any]]]:
    selects = [
        sql.SQL("select {}, t.* from ({}) as t").format(sql.Literal(n), select)
        for n, (_, select) in enumerate(parts)
    ]
    text = text_of(sql.SQL(" union all ").join(selects))
    rows = database.rows(text, role=parts[0][0].role)
    return [(parts[n][0], values) for n, *values in rows]


def _batches(collections: Sequence[KnownCollection]) -> Iterator[list[KnownCollection]]:
    batch: list[KnownCollection] = []
    rows = 0
    for collection in sorted(collections, key=lambda each: (each.role or "", each.id)):
        size = max(collection.rows, 0)
        is_full = len(batch) == BATCH or rows + size > BATCH_ROWS
        if batch and (is_full or batch[0].role != collection.role):
            yield batch
            batch, rows = [], 0
        batch.append(collection)
        rows += size
    if batch:
        yield batch


def _collection(row: Sequence[Any]) -> KnownCollection:
    id, tenant, database, name, schema, generation, dimension, hnsw, sparse, *rest = row
    role, may_read, existing, rows, is_locked = rest
    settings: Mapping[str, Any] = hnsw if isinstance(hnsw, dict) else {}
    return KnownCollection(
        id,
        tenant,
        database,
        name,
        schema,
        generation,
        dimension,
        settings.get("space", "l2"),
        clamped("sync_threshold", int(settings.get("sync_threshold", 1_000))),
        settings.get("quantization"),
        int(settings.get("max_neighbors", 16)),
        int(settings.get("ef_search", 100)),
        tuple(sparse),
        role,
        bool(may_read),
        frozenset(existing),
        int(rows),
        is_locked,
    )


_COLLECTIONS: Final = render(
    """
    select
        k.id, k.tenant, k.database, k.name, k.schema_name, k.generation, k.dimension,
        c.configuration -> 'hnsw',
        array(
            select (e.entry ->> 'number')::int
            from jsonb_each(
                case jsonb_typeof(c.configuration #> '{{indexed,sparse}}') when 'object'
                    then c.configuration #> '{{indexed,sparse}}' else '{{}}' end
            ) as e (key, entry)
            where e.entry ->> 'number' is not null
            union
            select (c.configuration #>> '{{indexed,text,number}}')::int
            where c.configuration #>> '{{indexed,text,number}}' is not null
            order by 1
        ),
        r.role,
        case
            when r.role is not null
                then coalesce(pg_has_role(current_user, r.role::name, 'set'), false)
            else coalesce(has_schema_privilege(k.namespace, 'usage'), false)
                and coalesce(
                    (
                        select bool_and(has_table_privilege(t.oid, 'select'))
                        from unnest(x.tables) as t (oid)
                    ),
                    false
                )
        end,
        coalesce(x.names, '{{}}'),
        coalesce(x.rows, -1),
        k.is_locked
    from {known} as k
    join pgchroma.collections as c on c.id = k.id
    left join pgchroma.tenants as p on p.name = k.tenant
    left join lateral (
        select
            array_agg(t.relname::text) as names,
            array_agg(t.oid) filter (where t.relkind = 'r') as tables,
            max(t.reltuples) filter (where t.relname = v.name) as rows,
            max(pg_get_userbyid(t.relowner)::text) filter (
                where t.relname = 'records_' || k.key
            ) as owner
        from (
            select 'vectors_' || k.key
                || case when k.generation = 1 then '' else '_' || k.generation end
        ) as v (name)
        join pg_catalog.pg_class as t
            on t.relnamespace = k.namespace and t.relkind in ('r', 'S')
            and t.relname = any(
                array['records_' || k.key, 'counts_' || k.key, 'log_' || k.key, v.name]
            )
    ) as x on true
    cross join lateral (select case when x.owner = p.role_name then x.owner end) as r (role)
    order by k.id
    """,
    known=KNOWN,
)
