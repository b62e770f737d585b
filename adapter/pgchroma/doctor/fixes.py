"""What ``--fix`` does: repairs that are safe to repeat, under the locks that the compactor uses.

Each repair looks again before it changes anything, because others may have worked since the
examination.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Final, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from pgchroma.backends.preparing import compaction_settings
from pgchroma.catalog.phases import HEAD, newer_catalog
from pgchroma.catalog.upgrade import explained_facts, restore_objects
from pgchroma.compactor import inspection, maintenance
from pgchroma.compactor.dropping import drop_all_discarded
from pgchroma.compactor.passes import PassResult, locked
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError, Session
from pgchroma.compactor.state import TrackedCollection
from pgchroma.compactor.steps import AsRole, IndexDDL, PassSteps, as_role
from pgchroma.config import Settings
from pgchroma.doctor.database import APPLICATION
from pgchroma.doctor.findings import Action, Finding, Fix
from pgchroma.errors import ChromaError
from pgchroma.store.layout.tables import create_view
from pgchroma.store.running.errors import mapped_errors, primary_message
from pgchroma.store.running.steps import Statement, Steps, Transaction, render
from pgchroma.store.sequences import advance

__all__ = ("Outcome", "apply_fixes")

_ORDER: Final[tuple[Action, ...]] = (
    "restore-catalog-objects",
    "create-view",
    "advance-sequence",
    "drop-index",
    "delete-orphans",
    "recount",
    "merge-counts",
    "analyze",
    "compact",
    "drop-discarded",
)
"""The order of the repairs. A compaction also does what some of those before it do."""

_WORDS: Final[dict[Action, str]] = {
    "advance-sequence": "advanced the sequence of its log",
    "analyze": "updated the statistics of its tables",
    "compact": "ran a compaction",
    "create-view": "created its view",
    "delete-orphans": "deleted its embeddings without a record",
    "drop-discarded": "dropped the tables of deleted databases",
    "drop-index": "dropped an index",
    "merge-counts": "merged its rows of counts",
    "recount": "counted its records",
    "restore-catalog-objects": "created the views, triggers and copies of the catalog again",
}


_LOCKED: Final = "another session waits for its tables, or has locked them"


class _SkippedError(Exception):
    """A repair was not done; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a repair.

    Attributes:
        fix: The repair.
        subject: What it is about, as in the findings.
        done: What was done, if it was.
        obstacle: Why it was not done; `None` if it was.
    """

    fix: Fix
    subject: str
    done: str
    obstacle: str | None = None


def apply_fixes(conninfo: str, settings: Settings, findings: Sequence[Finding]) -> list[Outcome]:
    """Do the repairs of findings, each once. A repair that fails does not stop the others.

    Args:
        conninfo: The database.
        settings: The settings of this process: how the compactor reaches PostgreSQL, and when it
            builds an index.
        findings: The findings.
    """
    place = settings.pgchroma_compaction_url or conninfo
    subjects: dict[Fix, str] = {}
    for finding in findings:
        if finding.fix is not None:
            subjects.setdefault(finding.fix, finding.subject)
    ordered = sorted(subjects, key=lambda fix: _ORDER.index(fix.action))
    return [_outcome(fix, subjects[fix], place, settings) for fix in ordered]


def _outcome(fix: Fix, subject: str, conninfo: str, settings: Settings) -> Outcome:
    words = f"{_WORDS[fix.action]} {fix.target}".rstrip()
    try:
        with mapped_errors():
            _repair(fix, conninfo, settings)
    except _SkippedError as reason:
        return Outcome(fix, subject, words, str(reason))
    except ChromaError as failure:
        return Outcome(fix, subject, words, failure.message())
    except psycopg.Error as failure:
        return Outcome(fix, subject, words, primary_message(failure))
    return Outcome(fix, subject, words)


def _repair(fix: Fix, conninfo: str, settings: Settings) -> None:
    if fix.action == "restore-catalog-objects":
        with psycopg.connect(conninfo, autocommit=True, application_name=APPLICATION) as connection:
            if (revision := explained_facts(connection).revision or HEAD) > HEAD:
                raise _SkippedError(newer_catalog(revision))
            restore_objects(connection)
    elif fix.action == "drop-discarded":
        if obstacle := drop_all_discarded(conninfo, Event()):
            raise _SkippedError(obstacle)
    elif fix.collection is not None and fix.action == "compact":
        _compact(fix.collection, conninfo, settings)
    elif fix.collection is not None:
        _repair_collection(fix, fix.collection, conninfo)


def _compact(id: UUID, conninfo: str, settings: Settings) -> None:
    with Compaction(conninfo, compaction_settings(settings), Event()) as compaction:
        found = compaction.collections({id})
        if not found and compaction.has(id):
            raise _SkippedError(_LOCKED)
        for collection in found:
            with _explained_interruption():
                if not compaction.compact(collection):
                    raise _SkippedError("another compactor works on the collection")
        if obstacle := compaction.obstacles.get(id):
            raise _SkippedError(obstacle)


def _repair_collection(fix: Fix, id: UUID, conninfo: str) -> None:
    with closing(Session(conninfo, Event())) as session:
        found = session.run(inspection.find_collections([id]))
        for collection in found:
            if collection.tables.is_shadow:
                continue
            with _explained_interruption():
                result = session.run_interruptible(
                    collection, locked(collection, _steps(fix, collection))
                )
            if not result.is_done:
                raise _SkippedError("a compactor works on the collection")


def _steps(fix: Fix, collection: TrackedCollection) -> PassSteps[PassResult]:
    """Return the steps of a repair of a collection."""
    match fix.action:
        case "advance-sequence":
            live = collection.tables if collection.dimension is not None else None
            yield from as_role(collection.role, advance(collection.tables, live, None))
        case "analyze":
            yield from maintenance.analyze(collection)
        case "create-view":
            yield AsRole(collection.role, Transaction(_create_view(collection)))
        case "delete-orphans":
            yield maintenance.delete_orphans(collection)
        case "drop-index":
            index = sql.Identifier(collection.tables.schema, fix.target).as_string(None)
            if (yield Statement(_IS_INVALID, {"index": index})):
                yield IndexDDL(maintenance.drop_index(collection, fix.target))
        case "merge-counts":
            yield maintenance.merge_counts(collection)
        case "recount":
            yield maintenance.recount(collection)
    return PassResult(is_done=True)


def _create_view(collection: TrackedCollection) -> Steps[None]:
    """Create the view of a collection, unless the collection was deleted or renamed.

    The view belongs to the owner of the tables.
    """
    tables = collection.tables
    parameters = {"id": collection.id, "name": collection.name}
    if not (yield Statement(_LOCK_NAME, parameters)):
        return
    view = tables.view(collection.name)
    names = {"view": view.as_string(None), "records": tables.records.as_string(None)}
    exists, owner, is_own = (yield Statement(_OWNER, names))[0]
    if exists:
        return
    filterable = collection.configuration.filterable
    has_vectors = collection.dimension is not None
    yield create_view(tables, collection.name, filterable, has_vectors=has_vectors)
    if not is_own:
        yield Statement(render(_GIVE, view=view, owner=sql.Identifier(owner)))


@contextmanager
def _explained_interruption() -> Generator[None, None, None]:
    """Report an interruption as the reason why a repair was not done."""
    try:
        yield
    except BuildInterruptedError as error:
        raise _SkippedError(_LOCKED) from error


_IS_INVALID: Final = render(
    """
    select 1 from pg_catalog.pg_index
    where indexrelid = to_regclass(%(index)s) and not indisvalid
    """
)

_LOCK_NAME: Final = render(
    "select 1 from pgchroma.collections where id = %(id)s and name = %(name)s for no key update"
)

_OWNER: Final = render(
    """
    select
        to_regclass(%(view)s) is not null,
        pg_get_userbyid(relowner)::text,
        pg_get_userbyid(relowner) = current_user
    from pg_catalog.pg_class where oid = to_regclass(%(records)s)
    """
)

_GIVE: LiteralString = "alter view {view} owner to {owner}"
