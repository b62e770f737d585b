"""The catalog's schema: checked, and upgraded where that is wanted.

A check is one query; it needs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg import sql

from pgchroma.catalog.migrations import offline_sql, upgrade
from pgchroma.catalog.pgvector import check_creatable, check_version, is_too_old
from pgchroma.errors import MissingRightError, VersionMismatchError
from pgchroma.store.layout.tables import LAYOUT_VERSION
from pgchroma.store.refusals import missing_right
from pgchroma.store.running._sync.driver import run

__all__ = ("HEAD", "MigrationMode", "ServerFacts", "check", "offline_sql", "prepare", "upgrade")

MigrationMode: TypeAlias = Literal["apply", "validate", "none"]

HEAD: Final = "0006"
"""The revision this code works with; a test holds that it is Alembic's newest."""

MIN_POSTGRES: Final = 160_000

_MIGRATE = "pgchroma migrate --url URL"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a look at the server tells.

    Attributes:
        version: PostgreSQL's version number, such as 180006.
        vector_version: pgvector's version; None where the extension is not installed.
        vector_oid: The object id of the type `vector`; None where there is none.
        revision: The catalog's revision; None where there is no catalog.
        statement_timeout_ms: The limit that holds for this user here; 0 for none.
        has_old_tables: Whether tables of some collections are of an older layout.
        vector_grant: The statement that lets this user use the extension's schema, if that is
            missing.
        encoding: How the database stores text.
        database: Its name.
        available_vector: The version of pgvector's files on the server, which is looked up where
            the extension is missing or old; else, and where there are no files, None.
    """

    version: int
    vector_version: str | None
    vector_oid: int | None
    revision: str | None
    statement_timeout_ms: int = 0
    has_old_tables: bool = False
    vector_grant: str | None = None
    encoding: str = "UTF8"
    database: str = ""
    available_vector: str | None = None


def prepare(
    connection: psycopg.Connection[Any], mode: MigrationMode = "apply", *, adopts: bool = True
) -> ServerFacts:
    """Make sure the database can be worked with, and say what it is.

    With ``apply`` an empty or older catalog is brought up to date; with ``validate`` it is
    refused; with ``none`` nobody looks. A server that cannot be worked with is refused before
    anything is created or changed.

    Args:
        connection: Any connection to the database.
        mode: What to do with a catalog that is not up to date.
        adopts: Whether a new catalog takes in what was restored before it was made.

    Raises:
        VersionMismatchError: PostgreSQL, pgvector or the catalog has the wrong version. The
            message has the command that mends it.
        MissingRightError: The user may not create what is missing, or may not look; the message
            has the grant.
    """
    try:
        facts = _look(connection)
    except pg.InsufficientPrivilege as refusal:
        raise run(connection, missing_right(None, refusal)) from refusal
    if mode == "apply" and _is_older(facts):
        _check_before_upgrade(facts)
        upgrade(connection, adopts=adopts)
        facts = _look(connection)
    return check(facts, mode)


def check(facts: ServerFacts, mode: MigrationMode = "validate") -> ServerFacts:
    """Return `facts` if this code can work with such a server.

    Raises:
        VersionMismatchError: It cannot.
        MissingRightError: The user may not use the extension vector.
    """
    _check_server(facts)
    _check_pgvector(facts)
    if mode != "none" and (facts.revision != HEAD or facts.has_old_tables):
        raise VersionMismatchError(_revision_message(facts))
    return facts


def _look(connection: psycopg.Connection[Any]) -> ServerFacts:
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(_FACTS, prepare=False)
        row = cursor.fetchone()
        if row is None:
            raise AssertionError("a select without a from clause gave no row")
        version, vector_version, vector_oid, timeout, grant, has_catalog, encoding = row
        revision, has_old_tables = None, False
        if has_catalog:
            cursor.execute(_REVISION, {"version": LAYOUT_VERSION}, prepare=False)
            revision, has_old_tables = cursor.fetchone() or (None, False)
        available = None
        if vector_version is None or is_too_old(vector_version):
            cursor.execute(_AVAILABLE, prepare=False)
            (available,) = cursor.fetchone() or (None,)
    return ServerFacts(
        version,
        vector_version,
        vector_oid,
        revision,
        timeout,
        has_old_tables,
        grant,
        encoding,
        connection.info.dbname,
        available,
    )


def _is_older(facts: ServerFacts) -> bool:
    # Revisions are numbered, so a newer package's catalog can be told from an older one's.
    if facts.revision is None or facts.revision < HEAD:
        return True
    return facts.revision == HEAD and facts.has_old_tables


def _check_before_upgrade(facts: ServerFacts) -> None:
    _check_server(facts)
    if facts.vector_version is None:
        check_creatable(facts.available_vector, facts.version)
    else:
        check_version(facts.vector_version, facts.available_vector, facts.version)


def _check_server(facts: ServerFacts) -> None:
    _check_postgres(facts)
    _check_encoding(facts)


def _check_postgres(facts: ServerFacts) -> None:
    if facts.version < MIN_POSTGRES:
        raise VersionMismatchError(
            f"PostgreSQL {facts.version // 10_000} is too old: pgchroma needs 16 or newer. "
            "Upgrade the server with pg_upgrade"
        )


def _check_encoding(facts: ServerFacts) -> None:
    if facts.encoding != "UTF8":
        other = sql.Identifier(f"{facts.database}_utf8").as_string(None)
        raise VersionMismatchError(
            f"the database stores text as {facts.encoding}, which cannot hold every document. "
            f"Use one that stores UTF-8: create database {other} encoding 'UTF8' locale 'C' "
            "template template0"
        )


def _check_pgvector(facts: ServerFacts) -> None:
    if facts.vector_version is None:
        check_creatable(facts.available_vector, facts.version)
        raise VersionMismatchError(
            f"the extension vector is not installed in this database. Run: {_MIGRATE}"
        )
    check_version(facts.vector_version, facts.available_vector, facts.version)
    if facts.vector_grant is not None:
        raise MissingRightError(
            "the user may not use the schema of the extension vector. As that schema's owner or a "
            f"superuser, run: {facts.vector_grant}"
        )


def _revision_message(facts: ServerFacts) -> str:
    revision = facts.revision
    if revision is None:
        return f"this database has no pgchroma catalog. Run: {_MIGRATE}"
    if revision == HEAD:
        return f"some collections' tables are of an older layout. Run: {_MIGRATE}"
    if _is_older(facts):
        return f"the catalog is at revision {revision}, this code needs {HEAD}. Run: {_MIGRATE}"
    return (
        f"the catalog is at revision {revision}, newer than this code's {HEAD}. "
        "Run: pip install --upgrade pgchroma"
    )


_REVISION: Final = """
select
    version_num,
    exists (select from pgchroma.collections where layout_version < %(version)s)
from pgchroma.alembic_version
"""

_AVAILABLE: Final = """
select default_version from pg_catalog.pg_available_extensions where name = 'vector'
"""

_FACTS: Final = """
select
    current_setting('server_version_num')::int,
    (select extversion from pg_catalog.pg_extension where extname = 'vector'),
    (
        select t.oid
        from pg_catalog.pg_type as t
        join pg_catalog.pg_extension as e on e.extnamespace = t.typnamespace
        where e.extname = 'vector' and t.typname = 'vector'
    ),
    (select setting::int from pg_catalog.pg_settings where name = 'statement_timeout'),
    (
        select format('grant usage on schema %I to %I', n.nspname, current_user)
        from pg_catalog.pg_extension as e
        join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
        where e.extname = 'vector' and not has_schema_privilege(n.oid, 'usage')
    ),
    to_regclass('pgchroma.alembic_version') is not null,
    current_setting('server_encoding')
"""
