"""``pgchroma migrate``: creates, upgrades and downgrades the catalog, and shows what that does."""

from __future__ import annotations

import math
from typing import Any, Final

import click
import psycopg

from pgchroma.catalog.downgrade import downgrade
from pgchroma.catalog.offline import TimeLimits, offline_sql
from pgchroma.catalog.phases import HEAD, Phase, newer_catalog
from pgchroma.catalog.plan import count_rows, plan_upgrade
from pgchroma.catalog.server_facts import check_before_upgrade
from pgchroma.catalog.upgrade import explained_facts, prepare, repair, upgrade
from pgchroma.cli.database import MISSING, TargetDatabase, on_database
from pgchroma.cli.printing import json_option, print_json, printable
from pgchroma.errors import InvalidArgumentError, VersionMismatchError
from pgchroma.store import run
from pgchroma.store.layout.upgrading import OldCollection, find_old

__all__ = ("migrate",)


class _Seconds(click.FloatRange):
    """A number of seconds; `nan` is between no bounds, and is refused."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return number


SECONDS = _Seconds(min=0, max=86_400)


@click.command()
@click.option(
    "--sql",
    "shows_sql",
    is_flag=True,
    help="Print the SQL and exit: for the database, or for an empty one if none is given.",
)
@click.option(
    "--plan",
    "shows_plan",
    is_flag=True,
    help="Print what would be locked, for how long by estimate, and exit.",
)
@click.option(
    "--down",
    metavar="REVISION",
    help="Undo the revisions after this one instead, if no data is lost.",
)
@click.option(
    "--phase",
    type=click.Choice([phase.value for phase in Phase]),
    help="Run only this phase: expand before servers are exchanged, contract after that.",
)
@click.option(
    "--lock-timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="Give up a step that does not get a lock in this time. [default: wait; with --sql 5]",
)
@click.option(
    "--statement-timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="With --sql: the most seconds that a statement may run; 0 means no limit. [default: 900]",
)
@json_option
@on_database(is_required=False)
def migrate(
    target: TargetDatabase | None, phase: str | None, *, as_json: bool, **given: Any
) -> None:
    """Create or upgrade pgchroma's catalog in a database.

    It also brings the tables of collections to the present layout, some in each transaction.
    """
    _check_options(phase, **given)
    only = None if phase is None else Phase(phase)
    if given["shows_sql"]:
        sql = _sql(target, only, given["lock_timeout"], given["statement_timeout"])
        if as_json:
            print_json({"sql": sql})
        else:
            click.echo(sql)
        return
    if target is None:
        raise click.UsageError(MISSING)
    with target.connection() as connection:
        if given["shows_plan"]:
            _print_plan(connection, only, as_json=as_json)
        elif given["down"] is not None:
            downgrade(connection, given["down"])
            _print_revision(given["down"], as_json=as_json)
        else:
            revision = _migrate(connection, only, given["lock_timeout"])
            _print_revision(revision, as_json=as_json)


def _check_options(
    phase: str | None,
    *,
    shows_sql: bool,
    shows_plan: bool,
    down: str | None,
    lock_timeout: float | None,
    statement_timeout: float | None,
) -> None:
    actions = {"--sql": shows_sql, "--plan": shows_plan, "--down": down is not None}
    chosen = [flag for flag, is_given in actions.items() if is_given]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} exclude each other; give one of them")
    if statement_timeout is not None and not shows_sql:
        raise click.UsageError("--statement-timeout needs --sql")
    if down is not None and phase is not None:
        raise click.UsageError("--down and --phase exclude each other; give one of them")
    if lock_timeout is not None and (shows_plan or down is not None):
        raise click.UsageError("--lock-timeout has no effect with --plan or --down; leave it out")


def _migrate(
    connection: psycopg.Connection[Any], phase: Phase | None, lock_timeout: float | None
) -> str | None:
    revision, old = _read_state(connection, phase)
    if revision is None or revision < HEAD or old:
        upgrade(connection, phase=phase, lock_timeout=lock_timeout)
    facts = prepare(connection, "validate")
    repair(connection)
    return facts.revision


def _print_revision(revision: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"revision": revision})
    else:
        click.echo(f"the catalog is at revision {revision}")


def _sql(
    target: TargetDatabase | None,
    phase: Phase | None,
    lock_timeout: float | None,
    statement_timeout: float | None,
) -> str:
    given = {"lock": lock_timeout, "statement": statement_timeout}
    limits = TimeLimits(**{name: value for name, value in given.items() if value is not None})
    if target is None:
        return offline_sql(phase=phase, limits=limits)
    with target.connection() as connection:
        revision, old = _read_state(connection, phase)
    return offline_sql(revision, old, phase=phase, limits=limits)


def _print_plan(connection: psycopg.Connection[Any], phase: Phase | None, *, as_json: bool) -> None:
    revision, old = _read_state(connection, phase)
    rows: dict[str, int] = run(connection, count_rows())
    steps = plan_upgrade(revision, old, rows)
    shown = [step for step in steps if phase in (None, step.phase)]
    if as_json:
        print_json([step.to_json() for step in shown])
        return
    if not shown:
        click.echo(f"the catalog is at revision {revision}, and nothing is left to do")
    for step in shown:
        for line in step.lines():
            click.echo(printable(line))


def _read_state(
    connection: psycopg.Connection[Any], phase: Phase | None
) -> tuple[str | None, list[OldCollection]]:
    """Return the revision of the catalog, and the collections with an older layout.

    Raises:
        InvalidArgumentError: The phase cannot run yet.
        MissingRightError: The user may not read the catalog.
        VersionMismatchError: This code cannot upgrade the catalog.
    """
    facts = explained_facts(connection)
    check_before_upgrade(facts)
    is_contract = phase is Phase.CONTRACT
    if is_contract and not facts.is_compatible:
        raise InvalidArgumentError(_EXPAND_FIRST)
    if facts.revision is None:
        return None, []
    if facts.revision > HEAD:
        raise VersionMismatchError(newer_catalog(facts.revision))
    old: list[OldCollection] = run(connection, find_old())
    if is_contract and old:
        raise InvalidArgumentError(_EXPAND_FIRST)
    return facts.revision, old


_EXPAND_FIRST: Final = "--phase: the phase expand comes first. Run: pgchroma migrate --phase expand"
