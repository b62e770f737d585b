"""Schemas of deleted databases: discarded at once, their tables dropped afterwards.

PostgreSQL needs milliseconds and several of its shared locks to drop a collection. So a database is
deleted by one short transaction, which deletes its rows of the catalog and renames its schema. From
then on nothing leads to its tables, and its name is free. The tables are dropped in batches by
whoever comes next: the client that deleted the database, the compactor, or the next deletion. Each
batch is a transaction, and nothing is lost if one of them fails or is interrupted.

No database has a schema of such a name, and no tenant's role may use one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from pgchroma.store.running.errors import has_lost_connection, primary_message
from pgchroma.store.running.steps import Attempt, Statement, Steps, render

__all__ = ("Leftovers", "discard_schemas", "drop_discarded")

PREFIX: Final = "pgchroma:discarded:"

AT_ONCE: Final = 60
"""Tables or views dropped in one transaction; each takes up to ten of PostgreSQL's shared locks."""

MAX_SKIPPED: Final = 50
"""So many objects that cannot be dropped are tried before the rest is left for later."""

PATIENCE: Final = "1s"
"""How long the first batch waits for readers, and for a build to give way."""

IMPATIENCE: Final = "10ms"
"""How long everything waits once something could not be dropped."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left of discarded schemas.

    Attributes:
        is_done: Whether nothing is.
        dropped: How many tables, views and schemas were dropped.
        obstacle: What could not be dropped, and why; None if only the time was over, or if
            somebody else drops the rest.
    """

    is_done: bool
    dropped: int = 0
    obstacle: str | None = None


def discard_schemas(schemas: Sequence[str]) -> Steps[None]:
    """Take schemas out of use: under names that nobody looks for, and out of tenants' reach."""
    rows = yield Statement(_OWNED, {"schemas": list(schemas)})
    statements = [
        statement for schema, is_foreign in rows for statement in _discard(schema, is_foreign)
    ]
    if statements:
        yield tuple(statements)


def drop_discarded(seconds: float) -> Steps[Leftovers]:
    """Drop what discarded schemas have: one batch, and more for about so many seconds.

    What cannot be dropped is passed over: somebody still reads it, or made something that depends
    on it. A fault ends nothing but its own batch.
    """
    until = time.monotonic() + seconds
    passed_over: list[int] = []
    dropped, obstacle = 0, None
    while len(passed_over) <= MAX_SKIPPED:
        named = {"prefix": PREFIX, "passed_over": passed_over, "limit": AT_ONCE}
        rows = yield Statement(_NEXT, named)
        if not rows:
            return Leftovers(not passed_over, dropped, obstacle)
        attempt = yield Attempt(_drop(rows, IMPATIENCE if passed_over else PATIENCE))
        if attempt is False:
            break
        dropped += len(rows)
        for row in rows if isinstance(attempt, psycopg.Error) else ():
            attempt = yield Attempt(_drop([row], IMPATIENCE))
            if isinstance(attempt, psycopg.Error):
                obstacle = obstacle or f"{row[1]}.{row[2] or '*'}: {primary_message(attempt)}"
                passed_over.append(row[0])
                dropped -= 1
                if has_lost_connection(attempt):
                    return Leftovers(False, dropped, obstacle)
        # What does not fill a batch is dropped whole; of more only what there is time for.
        if len(rows) == AT_ONCE and time.monotonic() >= until:
            break
    return Leftovers(False, dropped, obstacle)


def _discard(schema: str, is_foreign: bool) -> list[Statement]:
    parts = {"old": sql.Identifier(schema), "new": sql.Identifier(f"{PREFIX}{uuid4().hex}")}
    statements = [Statement(render("alter schema {old} rename to {new}", **parts))]
    if is_foreign:
        # Its owner may drop what is in it, whoever owns that, and the tenant's role may not use it.
        statements.append(Statement(render("alter schema {new} owner to current_user", **parts)))
    return statements


def _drop(rows: Sequence[Sequence[Any]], patience: str) -> Steps[bool]:
    """Drop some of what there is; false if somebody else is at it."""
    is_free, lock_timeout = (yield Statement(_TAKE))[0]
    if not is_free:
        return False
    yield _limit_locks(patience)
    yield tuple(_drop_one(*row[1:]) for row in rows)
    # In a transaction of the caller's it is the caller's again.
    yield _limit_locks(lock_timeout)
    return True


def _drop_one(schema: str, name: str | None, kind: str) -> Statement:
    template = _DROP[kind]
    identifier = sql.Identifier(schema) if name is None else sql.Identifier(schema, name)
    return Statement(render(template, it=identifier))


def _limit_locks(timeout: str) -> Statement:
    return Statement(render("set local lock_timeout = {value}", value=sql.Literal(timeout)))


_DROP: Final[dict[str, LiteralString]] = {
    "view": "drop view if exists {it}",
    "table": "drop table if exists {it}",
    "schema": "drop schema if exists {it}",
}

_OWNED = render(
    """
    select n.nspname::text, starts_with(pg_get_userbyid(n.nspowner), 'pgchroma:')
    from pg_catalog.pg_namespace as n
    where n.nspname = any(%(schemas)s)
    order by 1
    """
)

_TAKE = render("select pg_try_advisory_xact_lock(7021982472), current_setting('lock_timeout')")

# Views before the tables that they show, and a schema once it has neither.
_NEXT = render(
    """
    with discarded as materialized (
        select oid, nspname from pg_catalog.pg_namespace
        where starts_with(nspname::text, %(prefix)s) and pg_has_role(nspowner, 'usage')
    ),
    found as materialized (
        select c.oid, d.nspname, c.relname, c.relkind
        from discarded as d
        join pg_catalog.pg_class as c on c.relnamespace = d.oid and c.relkind in ('r', 'v')
    )
    select
        oid::bigint, nspname::text, relname::text,
        case relkind when 'v' then 'view' else 'table' end
    from found
    where oid <> all(%(passed_over)s::bigint[]::oid[])
    union all
    select oid::bigint, nspname::text, null, 'schema'
    from discarded as d
    where oid <> all(%(passed_over)s::bigint[]::oid[])
        and not exists (select from found as f where f.nspname = d.nspname)
    order by 4 desc, 1
    limit %(limit)s
    """
)
