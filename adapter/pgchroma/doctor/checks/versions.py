"""Versions: of PostgreSQL, its extensions, the catalog, and the tables of collections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pgchroma.catalog.pgvector import MIN_PGVECTOR, has_bugs, is_too_old
from pgchroma.catalog.phases import (
    HEAD,
    needed_revision,
    recorded_floor,
    works_with,
)
from pgchroma.catalog.server_facts import MIN_POSTGRES
from pgchroma.doctor.check import server_check
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, error, info, warning
from pgchroma.store.layout.pgvector import SOUND
from pgchroma.store.layout.tables import LAYOUT_VERSION
from pgchroma.store.rights import READ
from pgchroma.store.running.steps import render

__all__ = ("CHECKS", "catalog_obstacle", "is_newer")

MIGRATE: Final = "pgchroma migrate"

UPGRADE: Final = "pip install --upgrade pgchroma"

TABLES: Final = (*(name for name in READ if name != "alembic_version"), "credentials")
"""The tables of the catalog, besides that of the revision."""


@dataclass(frozen=True, slots=True)
class _Versions:
    """What the database says about versions.

    Attributes:
        vector: The version of the extension vector; `None` if it is not installed.
        newer_vector: The version of the server's files, if the extension can be updated to it.
        newer_trigrams: The same for pg_trgm.
    """

    server: int
    encoding: str
    database: str
    vector: str | None
    newer_vector: str | None
    trigrams: str | None
    newer_trigrams: str | None


@server_check("postgres-version")
def _postgres(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    if found.server < MIN_POSTGRES:
        yield error(
            "server",
            f"PostgreSQL {found.server // 10_000} is older than {MIN_POSTGRES // 10_000}",
            "pgchroma refuses to work with it",
            "pg_upgrade",
            version=found.server,
        )


@server_check("encoding")
def _encoding(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    if found.encoding != "UTF8":
        other = sql.Identifier(f"{found.database}_utf8").as_string(None)
        yield error(
            f"database {found.database}",
            f"the database stores text as {found.encoding}",
            "documents with other characters cannot be stored, so pgchroma refuses to work",
            f"create database {other} encoding 'UTF8' locale 'C' template template0",
        )


@server_check("pgvector-version")
def _pgvector(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    subject = f"database {found.database}"
    if found.vector is None:
        yield error(
            subject,
            "the extension vector is not installed",
            "pgchroma cannot store embeddings; if the extension was dropped, they are lost",
            MIGRATE,
        )
    elif is_too_old(found.vector):
        yield error(
            subject,
            f"pgvector {found.vector} is older than {MIN_PGVECTOR}",
            "it has no iterative scans, so pgchroma refuses to work",
            "alter extension vector update",
        )


@server_check("pgvector-bugs")
def _pgvector_bugs(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    if found.vector is not None and has_bugs(found.vector) and not is_too_old(found.vector):
        yield warning(
            f"database {found.database}",
            f"pgvector {found.vector} has bugs in HNSW indexes that {SOUND} fixes",
            "pgchroma avoids them: indexes may be built by one process, and vacuum leaves dead "
            "entries until an index is rebuilt",
            "alter extension vector update",
        )


@server_check("extension-behind")
def _behind(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    pairs = (
        ("vector", found.vector, found.newer_vector),
        ("pg_trgm", found.trigrams, found.newer_trigrams),
    )
    for name, installed, newer in pairs:
        if newer is not None:
            yield warning(
                f"extension {name}",
                f"the extension has version {installed}, the server's files have {newer}",
                "what the newer version adds to SQL is missing until the extension is updated",
                f"alter extension {name} update",
            )


@server_check("trigrams")
def _trigrams(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_versions)
    if found.trigrams is None:
        yield info(
            f"database {found.database}",
            "the extension pg_trgm is not installed",
            "filters of documents by $contains and $regex read every document",
            "create extension pg_trgm",
        )


@server_check("catalog-tables")
def _tables(database: Database) -> Iterator[Finding]:
    for name in _missing_tables(database):
        yield error(
            f"table pgchroma.{name}",
            "the table is missing in the catalog",
            "pgchroma cannot work with this database",
            "restore the schema pgchroma from a backup (pg_restore --schema=pgchroma)",
        )


@server_check("catalog-revision")
def _revision(database: Database) -> Iterator[Finding]:
    subject = f"database {database.connection.info.dbname}"
    revision, floor = database.shared(_read_revision)
    if revision is None:
        yield error(subject, "there is no catalog", "there are no collections", MIGRATE)
    elif not works_with(revision, floor):
        yield _unsuitable(subject, revision)
    elif revision > HEAD:
        yield info(
            subject,
            f"the catalog has revision {revision}, newer than {HEAD} of this version",
            "none; this version of pgchroma works with it",
            UPGRADE,
        )
    elif revision < HEAD:
        yield info(
            subject,
            f"the catalog has revision {revision}, and the upgrade to {HEAD} has another phase",
            "none; run that phase when the last server of an older version has stopped",
            MIGRATE,
        )


def _unsuitable(subject: str, revision: str) -> Finding:
    if revision > HEAD:
        return error(
            subject,
            f"the catalog has revision {revision}, newer than {HEAD} of this version",
            "this version of pgchroma refuses to work with it",
            UPGRADE,
        )
    return error(
        subject,
        f"the catalog has revision {revision}, and this version of pgchroma needs "
        f"{needed_revision()}",
        "a client upgrades it when it connects, unless migrations are set to validate",
        MIGRATE,
    )


@server_check("layout-version")
def _layouts(database: Database) -> Iterator[Finding]:
    # An unusable catalog is found by other checks.
    older, newer = (0, 0) if _why_unusable(database) else database.shared(_read_layouts)
    subject = f"database {database.connection.info.dbname}"
    if older:
        yield warning(
            subject,
            f"the tables of {older} collections have an older layout",
            "the first use of each collection waits until its tables are upgraded",
            MIGRATE,
            collections=older,
        )
    if newer:
        yield error(
            subject,
            f"the tables of {newer} collections have a newer layout",
            "this version of pgchroma may read them wrongly",
            UPGRADE,
            collections=newer,
        )


def is_newer(database: Database) -> bool:
    """Return whether the catalog is newer than this version.

    Raises:
        psycopg.Error: The user may not read its revision.
    """
    revision, _ = database.shared(_read_revision)
    return revision is not None and revision > HEAD


def catalog_obstacle(database: Database) -> str | None:
    """Return why the catalog cannot be examined; `None` if it can.

    Raises:
        psycopg.Error: The user may not read it.
    """
    if obstacle := _why_unusable(database):
        return obstacle
    older, _ = database.shared(_read_layouts)
    return "the tables of some collections have an older layout" if older else None


def _why_unusable(database: Database) -> str | None:
    """Return why this version cannot read the catalog; `None` if it can."""
    revision, floor = database.shared(_read_revision)
    if revision is None or not works_with(revision, floor):
        return "there is no catalog of a revision that this version of pgchroma works with"
    missing = _missing_tables(database)
    return f"tables are missing in the catalog: {', '.join(missing)}" if missing else None


def _missing_tables(database: Database) -> list[str]:
    """Return the tables that are missing in the catalog; none if there is no catalog.

    Raises:
        psycopg.Error: PostgreSQL's catalogs cannot be read.
    """
    has_catalog, missing = database.row(_MISSING, {"tables": list(TABLES)})
    return list(missing) if has_catalog else []


def _read_layouts(database: Database) -> tuple[int, int]:
    older, newer = database.row(_LAYOUTS, {"version": LAYOUT_VERSION})
    return older, newer


def _read_versions(database: Database) -> _Versions:
    return _Versions(*database.row(_VERSIONS))


def _read_revision(database: Database) -> tuple[str | None, str | None]:
    """Return the revision of the catalog, and that of the oldest code that works with it."""
    (exists,) = database.row(_EXISTS)
    for revision, comment in database.rows(_REVISION) if exists else ():
        return revision, recorded_floor(comment)
    return None, None


_VERSIONS: Final = render(
    """
    with extensions (name, installed, newer) as (
        select n.name, e.extversion, (
            select p.target
            from pg_catalog.pg_available_extensions as a
            cross join lateral pg_extension_update_paths(a.name) as p
            where a.name = n.name and p.source = e.extversion
                and p.target = a.default_version and p.path is not null
        )
        from (values ('vector'), ('pg_trgm')) as n (name)
        left join pg_catalog.pg_extension as e on e.extname = n.name
    )
    select
        current_setting('server_version_num')::int,
        current_setting('server_encoding'),
        current_database()::text,
        v.installed, v.newer, t.installed, t.newer
    from extensions as v
    cross join extensions as t
    where v.name = 'vector' and t.name = 'pg_trgm'
    """
)

_EXISTS: Final = render("select to_regclass('pgchroma.alembic_version') is not null")

_REVISION: Final = render(
    """
    select version_num, obj_description('pgchroma.alembic_version'::regclass, 'pg_class')
    from pgchroma.alembic_version
    """
)

_MISSING: Final = render(
    """
    select
        to_regnamespace('pgchroma') is not null,
        array(
            select t.name from unnest(%(tables)s::text[]) as t (name)
            where to_regclass(format('pgchroma.%%I', t.name)) is null
            order by 1
        )
    """
)

_LAYOUTS: Final = render(
    """
    select
        count(*) filter (where layout_version < %(version)s),
        count(*) filter (where layout_version > %(version)s)
    from pgchroma.collections
    """
)

CHECKS: Final = (
    _postgres,
    _encoding,
    _pgvector,
    _pgvector_bugs,
    _behind,
    _trigrams,
    _tables,
    _revision,
    _layouts,
)
