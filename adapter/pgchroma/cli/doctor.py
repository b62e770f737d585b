"""``pgchroma doctor``: finds what is wrong with a database, and mends what can be mended safely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from pgchroma._version import __version__
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.printing import print_json, printable
from pgchroma.config import Settings
from pgchroma.doctor.examination import Examination, examine
from pgchroma.doctor.findings import Finding, Severity
from pgchroma.doctor.fixes import Outcome, apply_fixes
from pgchroma.store.running.errors import mapped_errors

__all__ = ("doctor",)

SHOWN: Final = 10
"""Findings of one check and severity that the list shows; ``--json`` has all."""

FORMAT: Final = 1
"""The version of the format of ``--json``. It grows if a field changes its meaning or is removed.
"""

_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@click.command()
@on_database()
@click.option("--fix", "fixes", is_flag=True, help="Mend what can be mended safely.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for monitoring.")
@click.option("--collection", "names", multiple=True, help="Only collections of this name.")
@click.option(
    "--recall", "measures_recall", is_flag=True, help="Compare indexes with exact searches."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds that a statement of a check may run.",
)
def doctor(
    target: TargetDatabase,
    fixes: bool,
    as_json: bool,
    names: tuple[str, ...],
    measures_recall: bool,
    timeout: float,
) -> None:
    """Find what is wrong with a database.

    Each finding has its cost, and the command that mends it. The command changes nothing without
    --fix. It exits with 1 if there is a warning or an error.
    """
    outcomes: list[Outcome] = []
    with exit_on_error(), target.conninfo() as conninfo, mapped_errors():
        settings = Settings()

        def examined() -> Examination:
            return examine(
                conninfo, settings, names, seconds=timeout, measures_recall=measures_recall
            )

        found = examined()
        _refuse_unknown(found)
        if fixes and any(finding.fix for finding in found.findings):
            _refuse_replica(found)
            outcomes = apply_fixes(conninfo, settings, found.findings)
            found = examined()
    if as_json:
        print_json(_as_json(found, outcomes))
    else:
        _print(found, outcomes)
    if not found.is_healthy:
        raise SystemExit(1)


def _refuse_unknown(found: Examination) -> None:
    if found.unknown:
        names = ", ".join(printable(name) for name in found.unknown)
        raise click.UsageError(f"--collection {names}: there is no collection of that name")


def _refuse_replica(found: Examination) -> None:
    if any(finding.check == "replica" for finding in found.findings):
        raise CommandError("--fix: the database is a read-only replica; run it on the primary")


def _as_json(found: Examination, outcomes: Sequence[Outcome]) -> dict[str, object]:
    return {
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


def _print(found: Examination, outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False, markup=False)
    for outcome in outcomes:
        done = "Fixed" if outcome.obstacle is None else "Not fixed"
        reason = "" if outcome.obstacle is None else f": {outcome.obstacle}"
        line = f"{done}: {outcome.subject}: {outcome.action}{reason}"
        console.print(printable(line), soft_wrap=True)
    for _, group in groupby(found.findings, lambda finding: (finding.severity, finding.check)):
        for text in _lines(list(group)):
            console.print(text, soft_wrap=True)
    numbers = [
        _counted(found.count(Severity.ERROR), "error"),
        _counted(found.count(Severity.WARNING), "warning"),
        _counted(found.count(Severity.INFO), "note"),
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


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
