"""The catalog made and upgraded: Alembic's revisions between the files of `sql/`.

All of it is one transaction, which holds an advisory lock. Nothing is left on the session, so an
upgrade works behind a pooler that gives each transaction another session.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel
from psycopg import errors as pg

from pgchroma.catalog.adoption import Adopted, Wanted, has_catalog
from pgchroma.catalog.adoption import adopt as adopt_all
from pgchroma.catalog.layouts import upgrade_some
from pgchroma.catalog.resources import resource
from pgchroma.catalog.views import Kept, restore_view, views_in, what_is_kept
from pgchroma.catalog.waiting import watched_waits
from pgchroma.errors import MissingRightError, VersionMismatchError
from pgchroma.store.refusals import missing_right_to_upgrade
from pgchroma.store.running._sync.driver import run
from pgchroma.store.running.errors import primary_message
from pgchroma.store.running.parameters import connection_parameters
from pgchroma.store.running.search_path import add_schema
from pgchroma.store.sequences import advance_all, advance_segments

__all__ = ("adopt", "offline_sql", "sql_files", "upgrade")

_log = logging.getLogger("pgchroma.catalog")

_one_at_a_time = Lock()
"""Alembic's context is a global of the process; between processes the advisory lock does."""

_BEFORE: Final = ("00_lock.sql", "01_vector.sql", "02_trigrams.sql", "03_catalog.sql")
"""What runs before the revisions; all other files run after them."""

_LOCK, _VECTOR, _TRIGRAMS, _CATALOG = _BEFORE


def upgrade(connection: psycopg.Connection[Any], *, adopts: bool = True) -> None:
    """Bring the catalog up to date; of several that do at once, one does and the others wait.

    Args:
        connection: Any connection to the database. The upgrade opens its own, since the caller's
            may be in a transaction that the caller rolls back.
        adopts: Whether a catalog that is made takes in what was restored before.

    Raises:
        MissingRightError: The user may not create the extension, or schemas.
        VersionMismatchError: An object has to be replaced on which one of somebody else depends.
    """
    with _told_rights(connection), _one_at_a_time:
        with _another(connection) as own:
            is_new = _upgrade_catalog(own)
        with _another(connection) as own:
            _upgrade_layouts(own)
    for problem in adopt(connection, Wanted()).problems if is_new and adopts else ():
        _log.warning("not taken into the catalog: %s; see pgchroma adopt", problem)
    if not is_new:
        tend(connection)


def tend(connection: psycopg.Connection[Any]) -> None:
    """Make up for what happened to the database since its catalog was upgraded, as far as one may.

    An extension may have become available, and sequences may be behind.
    """
    with _another(connection) as own:
        own.autocommit = True
        with suppress(pg.InsufficientPrivilege):
            own.execute(sql_files()[_TRIGRAMS].encode())
            run(own, advance_all())
            run(own, advance_segments())


def adopt(connection: psycopg.Connection[Any], wanted: Wanted) -> Adopted:
    """Take schemas and collections that the catalog does not have into it.

    Raises:
        MissingRightError: The user does not own them, or may not write the catalog.
    """
    with _told_rights(connection):
        with _another(connection) as own, watched_waits(own):
            own.execute(sql_files()[_LOCK].encode())
            run(own, add_schema())
            adopted: Adopted = run(own, adopt_all(wanted))
            own.commit()
        tend(connection)
        with _another(connection) as own:
            _upgrade_layouts(own)
    return adopted


@contextmanager
def _told_rights(connection: psycopg.Connection[Any]) -> Generator[None, None, None]:
    try:
        yield
    except pg.InsufficientPrivilege as refusal:
        with _another(connection) as own:
            raise run(own, missing_right_to_upgrade(refusal)) from refusal


def offline_sql() -> str:
    """Return the SQL that an upgrade of an empty database runs, for review."""
    from alembic import command  # noqa: PLC0415

    revisions = io.StringIO()
    command.upgrade(_alembic(revisions), "head", sql=True)
    files = sql_files()
    before = [files.pop(name) for name in _BEFORE]
    return "\n".join(["begin;\n", *before, revisions.getvalue(), *files.values(), "commit;\n"])


def sql_files() -> dict[str, str]:
    """Return the files of `sql/` in the order they run in: text by name."""
    files = sorted(resource("sql").glob("*.sql"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def _another(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    # A pooler may give the next transaction to a session without the prepared statements.
    own = psycopg.connect(**connection_parameters(connection), prepare_threshold=None)
    # Whoever waited for the lock has to see what was committed meanwhile.
    own.isolation_level = IsolationLevel.READ_COMMITTED
    own.add_notice_handler(_log_warning)
    return own


def _log_warning(diagnosis: psycopg.errors.Diagnostic) -> None:
    if diagnosis.severity_nonlocalized == "WARNING":
        _log.warning(diagnosis.message_primary)


def _upgrade_catalog(connection: psycopg.Connection[Any]) -> bool:
    """Upgrade the catalog in one transaction; say whether it was made."""
    from sqlalchemy import create_engine, pool  # noqa: PLC0415  (half a second most starts save)
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=pool.StaticPool
    )
    try:
        with engine.begin() as migrating, watched_waits(connection):
            return _upgrade_in_transaction(connection, migrating)
    except DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()


def _upgrade_in_transaction(connection: psycopg.Connection[Any], migrating: Any) -> bool:
    files = sql_files()
    before = {name: files.pop(name) for name in _BEFORE}
    connection.execute(before[_LOCK].encode())
    is_new: bool = not run(connection, has_catalog())
    _create_extension(connection, before[_VECTOR])
    run(connection, add_schema())
    connection.execute(before[_TRIGRAMS].encode())
    connection.execute(before[_CATALOG].encode())
    _run_revisions(migrating)
    for text in files.values():
        _replace(connection, text)
    return is_new


def _create_extension(connection: psycopg.Connection[Any], text: str) -> None:
    try:
        connection.execute(text.encode())
    except pg.InsufficientPrivilege as error:
        database = connection.info.dbname
        raise MissingRightError(
            f"the user {connection.info.user} may not create the extension vector. As a "
            f"superuser, in database {database[:63]}, run: create extension vector"
        ) from error
    except (pg.FeatureNotSupported, pg.UndefinedFile) as error:
        # The server has the files, so it is something else, such as a provider's list of what is
        # allowed; the server says what.
        raise VersionMismatchError(
            f"the extension vector cannot be created: {primary_message(error)}"
        ) from error


def _run_revisions(connection: Any) -> None:
    from alembic import command  # noqa: PLC0415

    configuration = _alembic(io.StringIO())
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")


def _replace(connection: psycopg.Connection[Any], text: str) -> None:
    """Run a file; the views that it replaces keep their grants, owners and settings."""
    kept: list[Kept] = run(connection, what_is_kept(views_in(text)))
    is_new = False
    try:
        with connection.transaction():
            connection.execute(text.encode())
    except pg.InvalidTableDefinition:
        # PostgreSQL only adds columns to a view, at its end; this one has others.
        is_new = True
        for view in kept:
            _drop(connection, view)
        connection.execute(text.encode())
    for view in kept:
        run(connection, restore_view(view, is_new=is_new))


def _drop(connection: psycopg.Connection[Any], view: Kept) -> None:
    try:
        connection.execute(view.drop)
    except pg.DependentObjectsStillExist as error:
        depending = " ".join((error.diag.message_detail or "").split())
        raise VersionMismatchError(
            f"the upgrade changes the view {view.name}, and other objects depend on it: "
            f"{depending[:500]}. Nothing was changed. Drop them, upgrade, and create them again"
        ) from error


def _upgrade_layouts(connection: psycopg.Connection[Any]) -> None:
    """Bring collections along, some in each transaction."""
    lock = sql_files()[_LOCK].encode()
    has_more = True
    while has_more:
        with watched_waits(connection):
            connection.execute(lock)
            has_more = run(connection, upgrade_some())
            connection.commit()


def _alembic(output: io.StringIO) -> Any:
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config(stdout=sys.stdout, output_buffer=output)
    # Alembic interpolates the text, so a percent sign in a path has to be doubled.
    configuration.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration
