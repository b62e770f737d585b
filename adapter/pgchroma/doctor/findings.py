"""Findings: what is wrong, what it costs, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

__all__ = (
    "CHECK_FAILED",
    "NOT_CHECKED",
    "Action",
    "Finding",
    "Fix",
    "Severity",
    "error",
    "info",
    "not_checked",
    "warning",
)

NOT_CHECKED: Final = "not-checked"
"""The name of findings about checks that were not done; their subject is the check."""

CHECK_FAILED: Final = "check-failed"
"""The name of findings about checks that failed; their subject is the check."""


class Severity(StrEnum):
    """How urgent a finding is. An error breaks something, a warning costs something."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


Action: TypeAlias = Literal[
    "advance-sequence",
    "analyze",
    "compact",
    "create-view",
    "delete-orphans",
    "drop-discarded",
    "drop-index",
    "merge-counts",
    "recount",
    "restore-catalog-objects",
]
"""What ``--fix`` can do. Each action can be repeated without harm, and deletes no user's data."""


@dataclass(frozen=True, slots=True)
class Fix:
    """An action on a collection, or on the whole database.

    Attributes:
        collection: The collection's id; `None` for the whole database.
        target: The name of the index for ``drop-index``; otherwise empty.
    """

    action: Action
    collection: UUID | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: How urgent it is.
        subject: What it is about: ``server``, a database, a role, a process, or a collection as
            ``tenant/database/collection``.
        what: What was found, in one sentence.
        cost: What it costs, in plain words.
        command: The command or SQL statement that mends it; empty if there is none.
        figures: Numbers by name; the name has the unit.
        fix: What ``--fix`` does about it; `None` if it does nothing.
        check: The name of the check, which the examination adds.
    """

    severity: Severity
    subject: str
    what: str
    cost: str = ""
    command: str = ""
    figures: Mapping[str, int | float] = field(default_factory=dict)
    fix: Fix | None = None
    check: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as ``--json`` prints it."""
        return {
            "check": self.check,
            "severity": self.severity.value,
            "subject": self.subject,
            "what": self.what,
            "cost": self.cost,
            "figures": dict(self.figures),
            "command": self.command,
            "fixable": self.fix is not None,
        }


def error(
    subject: str,
    what: str,
    cost: str,
    command: str = "",
    *,
    fix: Fix | None = None,
    **figures: int | float,
) -> Finding:
    """Return a finding about something that is broken."""
    return Finding(Severity.ERROR, subject, what, cost, command, figures, fix)


def warning(
    subject: str,
    what: str,
    cost: str,
    command: str = "",
    *,
    fix: Fix | None = None,
    **figures: int | float,
) -> Finding:
    """Return a finding about something that costs time, space or safety."""
    return Finding(Severity.WARNING, subject, what, cost, command, figures, fix)


def info(
    subject: str,
    what: str,
    cost: str = "",
    command: str = "",
    *,
    fix: Fix | None = None,
    **figures: int | float,
) -> Finding:
    """Return a finding that needs no action by itself."""
    return Finding(Severity.INFO, subject, what, cost, command, figures, fix)


def not_checked(subject: str, what: str, command: str = "", **figures: int | float) -> Finding:
    """Return a finding about something that could not be examined."""
    cost = "problems of this kind are not found"
    return Finding(Severity.INFO, subject, what, cost, command, figures, check=NOT_CHECKED)
