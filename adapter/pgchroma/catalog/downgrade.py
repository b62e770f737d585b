"""Undoing revisions of the catalog, where nothing is lost that older code could not make again.

Revisions are undone from the newest on, in one transaction. What stands in the way is looked for
first; if there is anything, nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg

from pgchroma.catalog.phases import HEAD, newer_catalog
from pgchroma.catalog.revisions import migrating, run_downgrade
from pgchroma.catalog.server_facts import read_facts
from pgchroma.catalog.sql_files import LOCK, floor_comment, sql_files
from pgchroma.catalog.upgrade import another
from pgchroma.catalog.waiting import warn_of_waits
from pgchroma.errors import InvalidArgumentError, VersionMismatchError

__all__ = ("downgrade",)


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Data because of which a revision cannot be undone.

    Attributes:
        revision: The revision.
        query: Whether there is such data.
        reason: What it is, and what helps.
    """

    revision: str
    query: LiteralString
    reason: str


_OBSTACLES: Final = (
    _Obstacle(
        "0008",
        "select exists (select from pg_catalog.pg_depend as d "
        "join pg_catalog.pg_rewrite as w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid "
        "join pg_catalog.pg_class as c on c.oid = w.ev_class "
        "where c.relnamespace <> to_regnamespace('chroma') and ("
        "d.refobjid = to_regclass('chroma.collections') or d.refobjid in ("
        "select oid from pg_catalog.pg_proc where pronamespace = to_regnamespace('chroma'))))",
        "a view outside the schema chroma reads chroma.collections or calls a function of this "
        "schema. Drop the view, and create it again afterwards",
    ),
    _Obstacle(
        "0007",
        "select exists (select from pgchroma.collections as c, "
        "jsonb_each(c.configuration #> '{indexed,sparse}') as s (key, entry) "
        "where s.entry ->> 'number' is not null)",
        "older code cannot read the blocks of sparse vectors and words that collections have. "
        "Delete these collections, or restore a backup",
    ),
    _Obstacle(
        "0005",
        "select exists (select from pgchroma.reembeddings) or exists ("
        "select from pgchroma.collections where generation <> 1)",
        "collections were re-embedded, and older code would not find their embeddings. Copy their "
        "records into new collections, or restore a backup",
    ),
    _Obstacle(
        "0004",
        "select exists (select from pgchroma.collections)",
        "older code does not count the records of the tables that collections have. Restore a "
        "backup",
    ),
    _Obstacle(
        "0003",
        "select exists (select from pgchroma.tenants where role_name is not null)",
        "tenants have roles, which older code would not use. Restore a backup",
    ),
    _Obstacle(
        "0002",
        "select exists (select from pgchroma.credentials)",
        "keys and users would be lost. Delete them first: pgchroma keys list, pgchroma users list",
    ),
    _Obstacle(
        "0001",
        "select true",
        "that would delete every tenant and database. Drop the schemas pgchroma and chroma "
        "yourself if you want that",
    ),
)


def downgrade(connection: psycopg.Connection[Any], revision: str) -> None:
    """Undo the revisions after the given one.

    Args:
        connection: Any connection to the database. The downgrade opens its own connection.
        revision: A revision older than the catalog's; ``0000`` means none.

    Raises:
        InvalidArgumentError: There is no such revision, or it is not older than the catalog's.
        VersionMismatchError: The catalog is newer than this code, or there is data that older code
            cannot use. Nothing was changed.
    """
    with (
        another(connection) as own,
        migrating(own) as alembic,
        warn_of_waits(own),
    ):
        own.execute(sql_files()[LOCK].encode())
        current = _current(own)
        _check_revision(revision, current)
        for obstacle in _OBSTACLES:
            if revision < obstacle.revision <= current and _is_met(own, obstacle):
                raise VersionMismatchError(
                    f"revision {obstacle.revision} cannot be undone: {obstacle.reason}. "
                    "Nothing was changed"
                )
        run_downgrade(alembic, revision)
        own.execute(floor_comment(revision).encode())


def _current(connection: psycopg.Connection[Any]) -> str:
    revision = read_facts(connection).revision
    if revision is None:
        raise InvalidArgumentError("this database has no pgchroma catalog")
    if revision > HEAD:
        raise VersionMismatchError(newer_catalog(revision))
    return revision


def _check_revision(revision: str, current: str) -> None:
    known = len(revision) == len(HEAD) and revision.isdecimal()
    if not known or not "0000" <= revision < current:
        raise InvalidArgumentError(
            f"{revision[:20]!r} is not a revision before the catalog's, which is at {current}; "
            f"revisions are written like {HEAD}"
        )


def _is_met(connection: psycopg.Connection[Any], obstacle: _Obstacle) -> bool:
    row = connection.execute(obstacle.query).fetchone()
    return bool(row and row[0])
