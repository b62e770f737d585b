"""Schemas of deleted databases: a deletion discards them, and their tables are dropped afterwards.

To drop a collection, PostgreSQL needs milliseconds and several of its shared locks. Deleting a
database is therefore one short transaction, which deletes its rows in the catalog and renames its
schema. From then on its tables cannot be reached, and its name is free. The tables are dropped in
batches by the client that deleted the database, by the compactor, or by the next deletion. Each
batch is a transaction, and nothing is lost if one of them fails or is interrupted.

No database can have a schema with such a name, and no tenant's role may use one.
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
from pgchroma.store.running.transaction_settings import set_lock_timeout

__all__ = ("Leftovers", "discard_schemas", "drop_discarded")

PREFIX: Final = "pgchroma:discarded:"

BATCH: Final = 60
"""Tables or views dropped in one transaction; each takes up to ten of PostgreSQL's shared locks."""

MAX_SKIPPED: Final = 50
"""After this many objects that cannot be dropped, the rest is left for later."""

LOCK_TIMEOUT: Final = "1s"
"""How long a batch waits for readers, and for a build to give way."""

SHORT_LOCK_TIMEOUT: Final = "10ms"
"""How long batches wait after an object could not be dropped."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left of discarded schemas.

    Attributes:
        is_done: Whether nothing is left.
        dropped: How many tables, views and schemas were dropped.
        obstacle: What could not be dropped, and why; `None` if only the time has run out, or if
            another session drops the rest.
    """

    is_done: bool
    dropped: int = 0
    obstacle: str | None = None


def discard_schemas(schemas: Sequence[str]) -> Steps[None]:
    """Rename schemas so that they cannot be found, and take them from the tenants' roles."""
    rows = yield Statement(_OWNED, {"schemas": list(schemas)})
    statements = [
        statement for schema, is_foreign in rows for statement in _discard(schema, is_foreign)
    ]
    if statements:
        yield tuple(statements)


def drop_discarded(seconds: float) -> Steps[Leftovers]:
    """Drop the objects of discarded schemas: one batch, and further ones until the time runs out.

    An object that cannot be dropped is skipped, because a session still reads it or another object
    depends on it. An error ends only its own batch.

    Args:
        seconds: After how many seconds no further batch starts.
    """
    until = time.monotonic() + seconds
    skipped: list[int] = []
    dropped, obstacle = 0, None
    while len(skipped) <= MAX_SKIPPED:
        parameters = {"prefix": PREFIX, "skipped": skipped, "limit": BATCH}
        rows = yield Statement(_NEXT, parameters)
        if not rows:
            return Leftovers(not skipped, dropped, obstacle)
        attempt = yield Attempt(_drop(rows, SHORT_LOCK_TIMEOUT if skipped else LOCK_TIMEOUT))
        if attempt is False:
            break
        dropped += len(rows)
        for row in rows if isinstance(attempt, psycopg.Error) else ():
            attempt = yield Attempt(_drop([row], SHORT_LOCK_TIMEOUT))
            if isinstance(attempt, psycopg.Error):
                obstacle = obstacle or f"{row[1]}.{row[2] or '*'}: {primary_message(attempt)}"
                skipped.append(row[0])
                dropped -= 1
                if has_lost_connection(attempt):
                    return Leftovers(False, dropped, obstacle)
        # A batch that is not full is the last one. After a full one, the time limit applies.
        if len(rows) == BATCH and time.monotonic() >= until:
            break
    return Leftovers(False, dropped, obstacle)


def _discard(schema: str, is_foreign: bool) -> list[Statement]:
    parts = {"old": sql.Identifier(schema), "new": sql.Identifier(f"{PREFIX}{uuid4().hex}")}
    statements = [Statement(render("alter schema {old} rename to {new}", **parts))]
    if is_foreign:
        # The owner of a schema may drop all objects in it, and the tenant's role must not use it.
        statements.append(Statement(render("alter schema {new} owner to current_user", **parts)))
    return statements


def _drop(rows: Sequence[Sequence[Any]], timeout: str) -> Steps[bool]:
    """Drop some objects; return false if another session is dropping objects."""
    is_free, lock_timeout = (yield Statement(_LOCK))[0]
    if not is_free:
        return False
    yield set_lock_timeout(timeout)
    yield tuple(_drop_one(*row[1:]) for row in rows)
    # The caller's transaction continues with its own setting.
    yield set_lock_timeout(lock_timeout)
    return True


def _drop_one(schema: str, name: str | None, kind: str) -> Statement:
    template = _DROP[kind]
    identifier = sql.Identifier(schema) if name is None else sql.Identifier(schema, name)
    return Statement(render(template, object=identifier))


_DROP: Final[dict[str, LiteralString]] = {
    "view": "drop view if exists {object}",
    "table": "drop table if exists {object}",
    "schema": "drop schema if exists {object}",
}

_OWNED = render(
    """
    select n.nspname::text, starts_with(pg_get_userbyid(n.nspowner), 'pgchroma:')
    from pg_catalog.pg_namespace as n
    where n.nspname = any(%(schemas)s)
    order by 1
    """
)

_LOCK = render("select pg_try_advisory_xact_lock(7021982472), current_setting('lock_timeout')")

# Views come before the tables that they read, and a schema only after it is empty.
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
    where oid <> all(%(skipped)s::bigint[]::oid[])
    union all
    select oid::bigint, nspname::text, null, 'schema'
    from discarded as d
    where oid <> all(%(skipped)s::bigint[]::oid[])
        and not exists (select from found as f where f.nspname = d.nspname)
    order by 4 desc, 1
    limit %(limit)s
    """
)
