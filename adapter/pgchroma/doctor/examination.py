"""An examination: all checks of a database, and what they found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg import errors as pg

from pgchroma.config import Settings
from pgchroma.doctor.check import Check
from pgchroma.doctor.checks import CHECKS
from pgchroma.doctor.checks.connection import find_mode
from pgchroma.doctor.checks.versions import catalog_obstacle
from pgchroma.doctor.database import APPLICATION, Database
from pgchroma.doctor.findings import (
    CHECK_FAILED,
    Finding,
    Severity,
    not_checked,
    warning,
)
from pgchroma.store.running.errors import has_lost_connection, primary_message
from pgchroma.store.running.steps import render

__all__ = ("Examination", "examine")

_ORDER: Final = list(Severity)

_LIMITS: Final = (pg.InsufficientPrivilege, pg.QueryCanceled, pg.LockNotAvailable)
"""Errors that say nothing about the database: the user may not look, or it took too long."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What the checks of a database found.

    Attributes:
        database: The name of the database.
        findings: All findings, the most severe first, and then in the order of the checks.
        checks: How many checks were done.
        round_trips: How many statements they took.
        unknown: Names of collections that do not exist. If there are any, nothing was checked.
    """

    database: str
    findings: tuple[Finding, ...] = ()
    checks: int = 0
    round_trips: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether there is no finding above ``info``."""
        return all(finding.severity is Severity.INFO for finding in self.findings)

    def count(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return Counter(finding.severity for finding in self.findings)[severity]


def examine(
    conninfo: str,
    settings: Settings,
    names: Sequence[str] = (),
    *,
    seconds: float = 10.0,
    measures_recall: bool = False,
) -> Examination:
    """Run all checks on a database. Nothing in it is changed.

    A check that fails, or that the user may not do, becomes a finding.

    Args:
        conninfo: The database.
        settings: The settings of this process.
        names: The names of the collections to examine; if there are none, all collections.
        seconds: How long a statement may run.
        measures_recall: Whether to measure recall, which takes long.

    Raises:
        psycopg.Error: The database cannot be reached, or the connection was lost.
    """
    with closing(_connect(conninfo)) as connection:
        database = Database(
            connection,
            conninfo,
            settings,
            names=names,
            seconds=seconds,
            measures_recall=measures_recall,
        )
        name = connection.info.dbname
        if unknown := _unknown(database):
            return Examination(name, unknown=unknown)
        obstacle = _catalog_obstacle(database)
        findings: list[Finding] = []
        done = 0
        for check in CHECKS:
            if (check.needs_catalog and obstacle) or not _may_run(database, check):
                continue
            findings += _examined(check, database)
            done += 1
        if left := len(CHECKS) - done:
            reason = obstacle or "the pooler has no transactions"
            findings.append(not_checked("catalog", f"{left} checks were not done: {reason}"))
        findings.sort(key=lambda finding: _ORDER.index(finding.severity))
        return Examination(name, tuple(findings), done, database.round_trips)


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    # Behind a pooler, the next transaction may be in a session without the prepared statements.
    return psycopg.connect(
        conninfo, autocommit=True, application_name=APPLICATION, prepare_threshold=None
    )


def _may_run(database: Database, check: Check) -> bool:
    """Whether a check can be done: a pooler in statement mode has no transactions."""
    return check.name == "pooler" or database.shared(find_mode) != ("statement",)


def _examined(check: Check, database: Database) -> Iterator[Finding]:
    try:
        for finding in check.examine(database):
            yield finding if finding.check else replace(finding, check=check.name)
    except Exception as failure:
        if has_lost_connection(failure):
            raise
        yield _failed(check, failure)


def _failed(check: Check, failure: Exception) -> Finding:
    reason = primary_message(failure)
    if isinstance(failure, _LIMITS):
        return not_checked(check.name, reason)
    return replace(
        warning(
            check.name,
            f"the check failed: {reason}",
            "problems of this kind are not found; the catalog may be damaged",
        ),
        check=CHECK_FAILED,
    )


def _catalog_obstacle(database: Database) -> str | None:
    """Return why the catalog cannot be examined; `None` if it can."""
    if database.shared(find_mode) == ("statement",):
        return None
    try:
        return catalog_obstacle(database)
    except psycopg.Error as failure:
        if has_lost_connection(failure):
            raise
        return primary_message(failure)


def _unknown(database: Database) -> tuple[str, ...]:
    """Return the names of collections to examine that do not exist, as far as that can be read."""
    if not database.names or database.shared(find_mode) == ("statement",):
        return ()
    try:
        found = {name for (name,) in database.rows(_NAMES)}
    except psycopg.Error as failure:
        if has_lost_connection(failure):
            raise
        return ()
    return tuple(sorted(set(database.names) - found))


_NAMES: Final = render("select name from pgchroma.collections where name = any(%(names)s)")
