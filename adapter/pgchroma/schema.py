"""The catalog's schema: made, upgraded and checked.

An upgrade is Alembic's revisions and then the files of `sql/`, under an advisory lock and in one
transaction. A check is one query; it needs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import errors as pg

from pgchroma.errors import MissingRightError, VersionMismatchError
from pgchroma.resources import resource
from pgchroma.store.drivers import run
from pgchroma.store.layout import LAYOUT_VERSION
from pgchroma.store.upgrading import upgrade_layouts

__all__ = ("HEAD", "MigrationMode", "ServerFacts", "check", "offline_sql", "prepare", "upgrade")

MigrationMode: TypeAlias = Literal["apply", "validate", "none"]

HEAD: Final = "0005"
"""The revision this code works with; a test holds that it is Alembic's newest."""

LEAST_POSTGRES: Final = 160_000
LEAST_PGVECTOR: Final = (0, 8, 4)

_MIGRATE = "pgchroma migrate <url>"

_one_at_a_time = Lock()
"""Alembic's context is a global of the process; between processes the advisory lock does."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a look at the server tells.

    Attributes:
        version: PostgreSQL's version number, such as 180006.
        vector_version: pgvector's version; None where the extension is not installed.
        vector_oid: The object id of the type `vector`; None where no search path finds it.
        revision: The catalog's revision; None where there is no catalog.
        statement_timeout_ms: The limit that holds for this user here; 0 for none.
        has_old_tables: Whether tables of some collections are of an older layout.
    """

    version: int
    vector_version: str | None
    vector_oid: int | None
    revision: str | None
    statement_timeout_ms: int = 0
    has_old_tables: bool = False


def prepare(connection: psycopg.Connection[Any], mode: MigrationMode = "apply") -> ServerFacts:
    """Make sure the database can be worked with, and say what it is.

    With ``apply`` an empty or older catalog is brought up to date; with ``validate`` it is
    refused; with ``none`` nobody looks.

    Raises:
        VersionMismatchError: PostgreSQL, pgvector or the catalog has the wrong version. The
            message has the command that mends it.
        MissingRightError: The user may not create what is missing; the message has the grant.
    """
    facts = _look(connection)
    if mode == "apply" and _is_older(facts):
        _check_postgres(facts)
        upgrade(connection)
        facts = _look(connection)
    return check(facts, mode)


def check(facts: ServerFacts, mode: MigrationMode = "validate") -> ServerFacts:
    """Return `facts` if this code can work with such a server.

    Raises:
        VersionMismatchError: It cannot.
    """
    _check_postgres(facts)
    _check_pgvector(facts)
    if mode != "none" and (facts.revision != HEAD or facts.has_old_tables):
        raise VersionMismatchError(_revision_message(facts))
    return facts


def upgrade(connection: psycopg.Connection[Any]) -> None:
    """Bring the catalog up to date; of several that do at once, one does and the others wait.

    Raises:
        MissingRightError: The user may not create the extension, or schemas.
    """
    # Connections of its own: the caller's may be in a transaction that he rolls back.
    with _one_at_a_time, _another(connection) as locking:
        # For the session, not for a transaction: one that waited for the lock would go on with
        # the view of the catalogs that it had before.
        locking.execute(_LOCK)
        _create_extension(locking)
        _create_trigrams(locking)
        with _another(connection) as migrating:
            _upgrade_catalog(migrating)
        run(locking, upgrade_layouts())


def offline_sql() -> str:
    """Return the SQL an upgrade of an empty database would run, for review."""
    from alembic import command  # noqa: PLC0415

    output = io.StringIO()
    command.upgrade(_alembic(output), "head", sql=True)
    replaceable = "\n".join(text for _, text in replaceable_sql())
    return (
        f"create extension if not exists vector;\n\n{output.getvalue()}\n"
        f"BEGIN;\n\n{replaceable}\nCOMMIT;\n"
    )


def replaceable_sql() -> list[tuple[str, str]]:
    """The files of `sql/` in the order they run in: name and text."""
    files = sorted(resource("sql").glob("*.sql"))
    return [(file.name, file.read_text(encoding="utf-8")) for file in files]


def _look(connection: psycopg.Connection[Any]) -> ServerFacts:
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(_FACTS)
        row = cursor.fetchone()
        if row is None:
            raise AssertionError("a select without a from clause gave no row")
        version, vector_version, vector_oid, timeout, has_catalog = row
        revision, has_old_tables = None, False
        if has_catalog:
            cursor.execute(_REVISION, {"version": LAYOUT_VERSION})
            revision, has_old_tables = cursor.fetchone() or (None, False)
    return ServerFacts(version, vector_version, vector_oid, revision, timeout, has_old_tables)


def _is_older(facts: ServerFacts) -> bool:
    # Revisions are numbered, so a newer package's catalog can be told from an older one's.
    if facts.revision is None or facts.revision < HEAD:
        return True
    return facts.revision == HEAD and facts.has_old_tables


def _check_postgres(facts: ServerFacts) -> None:
    if facts.version < LEAST_POSTGRES:
        raise VersionMismatchError(
            f"PostgreSQL {facts.version // 10_000} is too old: pgchroma needs 16 or newer. "
            "Upgrade the server with pg_upgrade"
        )


def _check_pgvector(facts: ServerFacts) -> None:
    if facts.vector_version is None:
        raise VersionMismatchError(
            f"the extension vector is not installed in this database. Run: {_MIGRATE}"
        )
    version = tuple(int(part) for part in facts.vector_version.split(".")[:3])
    if version < LEAST_PGVECTOR:
        least = ".".join(map(str, LEAST_PGVECTOR))
        raise VersionMismatchError(
            f"pgvector {facts.vector_version} is too old: older than {least} it can corrupt HNSW "
            f"indexes on vacuum. Install {least} or newer on the server, then run: "
            "alter extension vector update"
        )
    if facts.vector_oid is None:
        raise VersionMismatchError(
            "the type vector is installed in a schema that is not on the search_path. Run: "
            'alter role current_user set search_path = "$user", public, <the extension\'s schema>'
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


def _another(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    info = connection.info
    return psycopg.connect(info.dsn, password=info.password or None, autocommit=True)


def _create_extension(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("create extension if not exists vector")
    except pg.InsufficientPrivilege as fault:
        raise MissingRightError(
            f"the user {connection.info.user} may not create the extension vector. As a "
            f"superuser, in database {connection.info.dbname}, run: create extension vector"
        ) from fault
    except (pg.FeatureNotSupported, pg.UndefinedFile) as fault:
        raise VersionMismatchError(
            "pgvector is not installed on this server. Install its package (on Debian: "
            f"apt-get install postgresql-{connection.info.server_version // 10_000}-pgvector)"
        ) from fault


def _create_trigrams(connection: psycopg.Connection[Any]) -> None:
    # An index of documents uses it; without it searching documents is slower and nothing else.
    with suppress(pg.InsufficientPrivilege, pg.FeatureNotSupported, pg.UndefinedFile):
        connection.execute("create extension if not exists pg_trgm")


def _upgrade_catalog(connection: psycopg.Connection[Any]) -> None:
    from sqlalchemy import create_engine, pool  # noqa: PLC0415  (half a second most starts save)
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=pool.StaticPool
    )
    connection.autocommit = False
    try:
        with engine.begin() as migrating:
            _run_revisions(migrating)
    except DBAPIError as fault:
        if isinstance(fault.orig, pg.InsufficientPrivilege):
            raise MissingRightError(
                f"{fault.orig.diag.message_primary}. As the database's owner or a superuser, run: "
                f"grant create on database {connection.info.dbname} to {connection.info.user}"
            ) from fault
        raise fault.orig or fault from fault
    finally:
        engine.dispose()


def _run_revisions(connection: Any) -> None:
    from alembic import command  # noqa: PLC0415

    connection.exec_driver_sql("create schema if not exists pgchroma")
    configuration = _alembic(io.StringIO())
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
    for _, text in replaceable_sql():
        connection.exec_driver_sql(text.replace("%", "%%"))


def _alembic(output: io.StringIO) -> Any:
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config(stdout=sys.stdout, output_buffer=output)
    # Alembic interpolates the text, so a percent sign in a path has to be doubled.
    configuration.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration


_LOCK: Final = "select pg_advisory_lock(7021982471)"

_REVISION: Final = """
select
    version_num,
    exists (select from pgchroma.collections where layout_version < %(version)s)
from pgchroma.alembic_version
"""

_FACTS: Final = """
select
    current_setting('server_version_num')::int,
    (select extversion from pg_catalog.pg_extension where extname = 'vector'),
    to_regtype('vector')::oid,
    (select setting::int from pg_catalog.pg_settings where name = 'statement_timeout'),
    to_regclass('pgchroma.alembic_version') is not null
"""
