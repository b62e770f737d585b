"""How the findings of ``pgchroma doctor`` are printed: as a list, or as JSON for monitoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from pgchroma._version import __version__
from pgchroma.cli.printing import print_json, printable
from pgchroma.doctor.examination import Examination
from pgchroma.doctor.findings import Finding, Severity
from pgchroma.doctor.fixes import Outcome
from pgchroma.model.plain import count_text

__all__ = ("print_as_json", "print_as_list")

SHOWN: Final = 10
"""Findings of one check and severity that the list shows. JSON has all."""

FORMAT: Final = 1
"""The version of the JSON. It grows if a field changes its meaning or is removed."""

_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def print_as_json(found: Examination, outcomes: Sequence[Outcome]) -> None:
    """Print an examination, and what was done before it, with the fields in docs/doctor.md."""
    report: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "database": found.database,
        "healthy": found.is_healthy,
        "checks": found.checks,
        "counts": {severity.value: found.count(severity) for severity in Severity},
        "findings": [finding.to_json() for finding in found.findings],
        "fixes": [
            {
                "action": outcome.fix.action,
                "subject": outcome.subject,
                "done": outcome.obstacle is None,
                "obstacle": outcome.obstacle,
            }
            for outcome in outcomes
        ],
    }
    print_json(report)


def print_as_list(found: Examination, outcomes: Sequence[Outcome]) -> None:
    """Print what was done, the findings, and a summary."""
    console = Console(highlight=False, markup=False)
    for outcome in outcomes:
        line = f"Fixed: {outcome.subject}: {outcome.done}"
        if outcome.obstacle is not None:
            line = f"Not fixed: {outcome.subject}: {outcome.fix.action}: {outcome.obstacle}"
        console.print(printable(line), soft_wrap=True)
    for _, group in groupby(found.findings, lambda finding: (finding.severity, finding.check)):
        for text in _lines(list(group)):
            console.print(text, soft_wrap=True)
    numbers = [
        count_text(found.count(Severity.ERROR), "error"),
        count_text(found.count(Severity.WARNING), "warning"),
        count_text(found.count(Severity.INFO), "note"),
    ]
    console.print(f"{', '.join(numbers)}; {found.checks} checks of database {found.database}")


def _lines(findings: Sequence[Finding]) -> Iterator[Text]:
    for finding in findings[:SHOWN]:
        style = _STYLES[finding.severity]
        head = f" {finding.check}  {finding.subject}: {finding.what}"
        yield Text.assemble((f"{finding.severity.value:7}", style), printable(head))
        if finding.cost:
            yield Text(printable(f"        cost: {finding.cost}"))
        if finding.command:
            mark = "  (--fix does it)" if finding.fix else ""
            yield Text(printable(f"        mend: {finding.command}{mark}"))
    if len(findings) > SHOWN:
        yield Text(f"        … and {len(findings) - SHOWN} more of {findings[0].check}")
