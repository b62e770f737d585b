"""``pgchroma doctor``: finds what is wrong with a database, and mends what can be mended safely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.printing import json_option, printable
from pgchroma.config import Settings
from pgchroma.store.running.errors import mapped_errors

if TYPE_CHECKING:
    from pgchroma.doctor.examination import Examination

__all__ = ("doctor",)


@click.command()
@on_database()
@click.option("--fix", "fixes", is_flag=True, help="Mend what can be mended safely.")
@json_option
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
    # The other commands start faster without these.
    from pgchroma.cli.findings import print_as_json, print_as_list  # noqa: PLC0415
    from pgchroma.doctor.examination import examine  # noqa: PLC0415
    from pgchroma.doctor.fixes import Outcome, apply_fixes  # noqa: PLC0415

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
    (print_as_json if as_json else print_as_list)(found, outcomes)
    if not found.is_healthy:
        raise SystemExit(1)


def _refuse_unknown(found: Examination) -> None:
    if found.unknown:
        names = ", ".join(printable(name) for name in found.unknown)
        raise click.UsageError(f"--collection {names}: there is no collection of that name")


def _refuse_replica(found: Examination) -> None:
    if any(finding.check == "replica" for finding in found.findings):
        raise CommandError("--fix: the database is a read-only replica; run it on the primary")
