"""Creating and upgrading the catalog: Alembic's revisions between the files of `sql/`.

An upgrade is one transaction, which holds an advisory lock. It leaves nothing on the session, so it
works behind a pooler that gives each transaction another session.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql
from psycopg import errors as pg

from pgchroma.catalog.adoption import AdoptionReport, AdoptionRequest, adopt_all
from pgchroma.catalog.copies import find_copies, limit_waits, write_copy
from pgchroma.catalog.pgvector import warn_of_bugs
from pgchroma.catalog.phases import HEAD, Phase, needed_revision
from pgchroma.catalog.restored import relation_exists
from pgchroma.catalog.revisions import migrating, run_upgrade
from pgchroma.catalog.server_facts import (
    MigrationMode,
    ServerFacts,
    check,
    check_before_upgrade,
    needs_upgrade,
    read_facts,
)
from pgchroma.catalog.sql_files import (
    BEFORE,
    CATALOG,
    LOCK,
    TRIGRAMS,
    VECTOR,
    floor_comment,
    sql_files,
)
from pgchroma.catalog.views import ViewState, read_views, restore_view, views_in
from pgchroma.catalog.waiting import warn_of_waits
from pgchroma.errors import MissingRightError, UnavailableError, VersionMismatchError
from pgchroma.store.layout.upgrading import upgrade_some
from pgchroma.store.refusals import missing_right, missing_right_to_upgrade
from pgchroma.store.running._sync.driver import run
from pgchroma.store.running.errors import primary_message
from pgchroma.store.running.parameters import connection_parameters
from pgchroma.store.running.search_path import add_schema
from pgchroma.store.sequences import advance_all, advance_segments

__all__ = ("adopt", "another", "explained_facts", "prepare", "repair", "restore_objects", "upgrade")

_log = logging.getLogger("pgchroma.catalog")

_upgrade_lock = Lock()
"""Serializes upgrades within the process, because Alembic's context is global. Between processes
the advisory lock serializes them."""


def prepare(
    connection: psycopg.Connection[Any], mode: MigrationMode = "apply", *, adopts: bool = True
) -> ServerFacts:
    """Check that pgchroma can work with a database, and return the facts about it.

    A missing or older catalog is upgraded with ``apply``, refused with ``validate``, and not
    checked with ``none``. An unsuitable server is refused before anything is created or changed.
    Tables of collections with an older layout are left to their first use and to compactors.

    Args:
        connection: Any connection to the database.
        mode: What to do with a catalog that is not up to date.
        adopts: Whether a new catalog adopts collections that were restored before.

    Raises:
        VersionMismatchError: PostgreSQL, pgvector or the catalog has the wrong version. The
            message has the command that corrects it.
        MissingRightError: The user may not create what is missing, or may not read the catalog.
            The message has the grant.
    """
    facts = explained_facts(connection)
    if mode == "apply" and needs_upgrade(facts):
        check_before_upgrade(facts)
        # Servers of older code may still use what the next phase removes.
        _upgrade(connection, adopts=adopts, phase=Phase.EXPAND, upgrades_layouts=False)
        facts = read_facts(connection)
    check(facts, mode)
    if facts.vector_version is not None:
        warn_of_bugs(facts.vector_version, facts.available_vector, facts.version)
    return facts


def explained_facts(connection: psycopg.Connection[Any]) -> ServerFacts:
    """Read the facts about a database.

    Raises:
        MissingRightError: The user may not read the catalog. The message has the grant.
    """
    try:
        return read_facts(connection)
    except pg.InsufficientPrivilege as refusal:
        raise run(connection, missing_right(None, refusal)) from refusal


def upgrade(
    connection: psycopg.Connection[Any],
    *,
    adopts: bool = True,
    phase: Phase | None = None,
    lock_timeout: float | None = None,
) -> None:
    """Create or upgrade the catalog, and upgrade the tables of all collections.

    Concurrent upgrades wait for each other.

    Args:
        connection: Any connection to the database. The upgrade opens its own connection, because
            the caller may roll back a transaction on this one.
        adopts: Whether a new catalog adopts collections that were restored before.
        phase: The last phase to run; `None` means all.
        lock_timeout: The most seconds to wait for each lock; `None` means as long as it takes.

    Raises:
        MissingRightError: The user may not create the extension, or schemas.
        UnavailableError: A lock was not granted in time. The step that needed it changed nothing.
        VersionMismatchError: An object has to be replaced on which a user's object depends.
    """
    _upgrade(connection, adopts=adopts, phase=phase, lock_timeout=lock_timeout)


def _upgrade(
    connection: psycopg.Connection[Any],
    *,
    adopts: bool,
    phase: Phase | None,
    lock_timeout: float | None = None,
    upgrades_layouts: bool = True,
) -> None:
    """Do what `upgrade` does; without `upgrades_layouts`, leave out the tables of collections."""
    with _explained_rights(connection), _explained_timeout(lock_timeout), _upgrade_lock:
        with another(connection) as own:
            is_new = _upgrade_catalog(own, phase, lock_timeout)
        if upgrades_layouts:
            with another(connection) as own:
                _upgrade_layouts(own, lock_timeout)
    for problem in adopt(connection, AdoptionRequest()).problems if is_new and adopts else ():
        _log.warning("not adopted: %s; see pgchroma adopt", problem)
    if not is_new:
        repair(connection)


def repair(connection: psycopg.Connection[Any]) -> None:
    """Correct what has changed in the database since the upgrade, as far as the user may.

    The extension pg_trgm may have become available, and sequences may be behind.
    """
    with another(connection) as own:
        own.autocommit = True
        with suppress(pg.InsufficientPrivilege):
            own.execute(sql_files()[TRIGRAMS].encode())
            run(own, advance_all())
            run(own, advance_segments())


def adopt(connection: psycopg.Connection[Any], request: AdoptionRequest) -> AdoptionReport:
    """Add schemas and collections to the catalog that exist only in PostgreSQL.

    Raises:
        MissingRightError: The user does not own them, or may not write to the catalog.
    """
    with _explained_rights(connection):
        with another(connection) as own, warn_of_waits(own):
            own.execute(sql_files()[LOCK].encode())
            run(own, add_schema())
            adopted: AdoptionReport = run(own, adopt_all(request))
            own.commit()
        with another(connection) as own:
            _upgrade_layouts(own)
        repair(connection)
    return adopted


def restore_objects(connection: psycopg.Connection[Any]) -> None:
    """Create the replaceable SQL objects of the catalog again, and write all copies of it.

    The catalog must have this version's revision. Copies may be outdated if a trigger was missing.

    Raises:
        MissingRightError: The user does not own the catalog.
    """
    with _explained_rights(connection):
        with another(connection) as own, warn_of_waits(own):
            files = sql_files()
            own.execute(files[LOCK].encode())
            run(own, add_schema())
            # Unlike an upgrade, this is not urgent.
            run(own, limit_waits())
            for name, text in files.items():
                if name not in BEFORE:
                    _replace(own, text)
            own.commit()
        with another(connection) as own:
            own.autocommit = True
            for schema, role in run(own, find_copies()):
                run(own, write_copy(schema), role)


@contextmanager
def _explained_rights(connection: psycopg.Connection[Any]) -> Generator[None, None, None]:
    try:
        yield
    except pg.InsufficientPrivilege as refusal:
        with another(connection) as own:
            raise run(own, missing_right_to_upgrade(refusal)) from refusal


@contextmanager
def _explained_timeout(seconds: float | None) -> Generator[None, None, None]:
    try:
        yield
    except pg.LockNotAvailable as error:
        if seconds is None:
            raise
        raise UnavailableError(
            f"the upgrade did not get a lock within {seconds:g} s: {primary_message(error)}. The "
            "steps before this one are done, and this one changed nothing. Run it again to continue"
        ) from error


def another(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Open another connection to the same database, for an upgrade."""
    # Behind a pooler, the next transaction may be in a session without the prepared statements.
    own = psycopg.connect(**connection_parameters(connection), prepare_threshold=None)
    # An upgrade that waited for the lock has to see what was committed while it waited.
    own.isolation_level = IsolationLevel.READ_COMMITTED
    own.add_notice_handler(_log_warning)
    return own


def _log_warning(diagnosis: psycopg.errors.Diagnostic) -> None:
    if diagnosis.severity_nonlocalized == "WARNING":
        _log.warning(diagnosis.message_primary)


def _upgrade_catalog(
    connection: psycopg.Connection[Any], phase: Phase | None, lock_timeout: float | None
) -> bool:
    """Upgrade the catalog in one transaction; return whether it is new."""
    with migrating(connection) as alembic, warn_of_waits(connection):
        files = sql_files()
        before = {name: files.pop(name) for name in BEFORE}
        connection.execute(before[LOCK].encode())
        _limit_waits(connection, lock_timeout)
        is_new: bool = not run(connection, relation_exists(_VERSION_TABLE))
        _create_extension(connection, before[VECTOR])
        run(connection, add_schema())
        connection.execute(before[TRIGRAMS].encode())
        connection.execute(before[CATALOG].encode())
        last = needed_revision() if phase is Phase.EXPAND and not is_new else HEAD
        run_upgrade(alembic, last)
        for text in files.values():
            _replace(connection, text)
        connection.execute(floor_comment(last).encode())
        return is_new


def _limit_waits(connection: psycopg.Connection[Any], seconds: float | None) -> None:
    """Limit how long the transaction waits for each lock; `None` means no limit."""
    if seconds is not None:
        connection.execute(
            "select set_config('lock_timeout', %s, true)", [f"{round(seconds * 1000)}ms"]
        )


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
        # The server has the files, so the reason is another one, such as a provider's list of
        # allowed extensions. PostgreSQL's message has it.
        raise VersionMismatchError(
            f"the extension vector cannot be created: {primary_message(error)}"
        ) from error


def _replace(connection: psycopg.Connection[Any], text: str) -> None:
    """Run a file; the views that it replaces keep their grants, owners and settings."""
    views: list[ViewState] = run(connection, read_views(views_in(text)))
    is_new = False
    try:
        with connection.transaction():
            connection.execute(text.encode())
    except pg.InvalidTableDefinition:
        # PostgreSQL can only add columns at the end of a view, and other columns have changed.
        is_new = True
        for view in views:
            _drop_view(connection, view)
        connection.execute(text.encode())
    for view in views:
        run(connection, restore_view(view, is_new=is_new))


def _drop_view(connection: psycopg.Connection[Any], view: ViewState) -> None:
    try:
        connection.execute(view.drop)
    except pg.DependentObjectsStillExist as error:
        depending = " ".join((error.diag.message_detail or "").split())
        raise VersionMismatchError(
            f"the upgrade changes the view {view.name}, and other objects depend on it: "
            f"{depending[:500]}. Nothing was changed. Drop them, upgrade, and create them again"
        ) from error


def _upgrade_layouts(
    connection: psycopg.Connection[Any], lock_timeout: float | None = None
) -> None:
    """Upgrade the layout of collections' tables, some in each transaction."""
    lock = sql_files()[LOCK].encode()
    has_more = True
    while has_more:
        try:
            with warn_of_waits(connection):
                connection.execute(lock)
                _limit_waits(connection, lock_timeout)
                has_more = run(connection, upgrade_some())
                connection.commit()
        except pg.DeadlockDetected:
            # A search locks the same tables in another order.
            connection.rollback()


_VERSION_TABLE = sql.Identifier("pgchroma", "alembic_version")
