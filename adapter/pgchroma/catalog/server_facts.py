"""Facts about a PostgreSQL server and a database, and whether pgchroma can work with them.

Reading the facts takes one query, or two; it needs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import sql

from pgchroma.catalog.pgvector import check_creatable, check_version, has_bugs
from pgchroma.catalog.phases import (
    HEAD,
    needed_revision,
    newer_catalog,
    recorded_floor,
    works_with,
)
from pgchroma.errors import MissingRightError, VersionMismatchError
from pgchroma.store.running.sessions import TYPE_OIDS
from pgchroma.store.running.steps import render

__all__ = (
    "HEAD",
    "MigrationMode",
    "ServerFacts",
    "check",
    "check_before_upgrade",
    "needs_upgrade",
    "read_facts",
)

MigrationMode: TypeAlias = Literal["apply", "validate", "none"]

MIN_POSTGRES: Final = 160_000

_MIGRATE = "pgchroma migrate --url URL"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Facts about a server and a database.

    Attributes:
        version: PostgreSQL's version number, such as 180006.
        vector_version: pgvector's version; `None` if the extension is not installed.
        vector_oid: The object id of the type `vector`; `None` if it does not exist.
        revision: The catalog's revision; `None` if there is no catalog.
        statement_timeout_ms: The statement timeout of this user in this database; 0 means none.
        vector_grant: The statement that grants this user the use of the extension's schema, if
            that is missing.
        encoding: The encoding of the database.
        database: The name of the database.
        available_vector: The version of pgvector's files on the server. It is read only if the
            extension is missing or old; otherwise, and if there are no files, it is `None`.
        sparsevec_oid: The object id of the type `sparsevec`; `None` if it does not exist.
        floor: The revision of the oldest code that works with the catalog; `None` if the catalog
            does not record it.
    """

    version: int
    vector_version: str | None
    vector_oid: int | None
    revision: str | None
    statement_timeout_ms: int = 0
    vector_grant: str | None = None
    encoding: str = "UTF8"
    database: str = ""
    available_vector: str | None = None
    sparsevec_oid: int | None = None
    floor: str | None = None

    @property
    def is_compatible(self) -> bool:
        """Whether this code works with a catalog of this revision."""
        return self.revision is not None and works_with(self.revision, self.floor)


def check(facts: ServerFacts, mode: MigrationMode = "validate") -> ServerFacts:
    """Return the facts if pgchroma can work with the server and the database.

    Raises:
        VersionMismatchError: It cannot.
        MissingRightError: The user may not use the extension vector.
    """
    _check_server(facts)
    _check_pgvector(facts)
    if mode != "none" and not facts.is_compatible:
        raise VersionMismatchError(_revision_message(facts))
    return facts


def read_facts(connection: psycopg.Connection[Any]) -> ServerFacts:
    """Read the facts over any connection to the database."""
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(_FACTS, prepare=False)
        row = cursor.fetchone()
        if row is None:
            raise AssertionError("a select without a from clause returned no row")
        (
            version,
            vector_version,
            vector_oid,
            sparsevec_oid,
            timeout,
            grant,
            has_catalog,
            encoding,
        ) = row
        revision, floor = None, None
        if has_catalog:
            cursor.execute(_REVISION, prepare=False)
            revision, floor = cursor.fetchone() or (None, None)
        available = None
        if vector_version is None or has_bugs(vector_version):
            cursor.execute(_AVAILABLE, prepare=False)
            (available,) = cursor.fetchone() or (None,)
    return ServerFacts(
        version,
        vector_version,
        vector_oid,
        revision,
        timeout,
        grant,
        encoding,
        connection.info.dbname,
        available,
        sparsevec_oid,
        recorded_floor(floor),
    )


def needs_upgrade(facts: ServerFacts) -> bool:
    """Whether the catalog is missing, or older than this code needs."""
    # Revisions are numbered, so a catalog of a newer pgchroma can be distinguished.
    return facts.revision is None or facts.revision < needed_revision()


def check_before_upgrade(facts: ServerFacts) -> None:
    """Check what an upgrade of the catalog needs and cannot change.

    Raises:
        VersionMismatchError: PostgreSQL or pgvector has the wrong version, or the database stores
            text in another encoding than UTF-8.
    """
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
    if needs_upgrade(facts):
        needed = needed_revision()
        return f"the catalog is at revision {revision}, this code needs {needed}. Run: {_MIGRATE}"
    return newer_catalog(revision)


_REVISION: Final = """
select
    version_num,
    obj_description('pgchroma.alembic_version'::regclass, 'pg_class')
from pgchroma.alembic_version
"""

_AVAILABLE: Final = """
select default_version from pg_catalog.pg_available_extensions where name = 'vector'
"""

_FACTS: Final = render(
    """
    select
        current_setting('server_version_num')::int,
        (select extversion from pg_catalog.pg_extension where extname = 'vector'),
        t.vector,
        t.sparsevec,
        (select setting::int from pg_catalog.pg_settings where name = 'statement_timeout'),
        (
            select format('grant usage on schema %I to %I', n.nspname, current_user)
            from pg_catalog.pg_extension as e
            join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
            where e.extname = 'vector' and not has_schema_privilege(n.oid, 'usage')
        ),
        to_regclass('pgchroma.alembic_version') is not null,
        current_setting('server_encoding')
    from {oids} as t
    """,
    oids=TYPE_OIDS,
)
