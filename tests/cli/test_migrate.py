"""``pgchroma migrate``: its options, what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

import pgchroma
from pgchroma.catalog.phases import HEAD
from pgchroma.catalog.server_facts import read_facts
from tests.cli.test_database import Run, run
from tests.compactor.conftest import QUIET, filled
from tests.downgrading import downgrade

__all__ = ("run",)


def _revision(url: str) -> str | None:
    with psycopg.connect(url) as plain:
        return read_facts(plain).revision


def test_without_a_database_the_sql_is_that_of_an_empty_one(run: Run, empty_url: str) -> None:
    printed = run("migrate", "--sql", "--lock-timeout", "2.5").stdout
    assert printed.startswith("-- The catalog, from nothing to revision")
    assert "set local lock_timeout = '2500ms'" in printed
    assert "set local statement_timeout = '900000ms'" in printed
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute(printed.encode())
    assert _revision(empty_url) == HEAD
    assert json.loads(run("migrate", "--sql", "--lock-timeout", "2.5", "--json").stdout) == {
        "sql": printed.removesuffix("\n")
    }
    assert "no database given" in run("migrate", exit_code=2).stderr
    assert "no database given" in run("migrate", "--plan", exit_code=2).stderr


@pytest.mark.parametrize("by_variable", [False, True])
def test_with_a_database_sql_and_plan_begin_at_its_revision(
    by_variable: bool, run: Run, url: str
) -> None:
    where = () if by_variable else ("--url", url)
    variables = {"PGCHROMA_URL": url} if by_variable else {}
    assert "nothing is left to do" in run("migrate", "--sql", *where, **variables).stdout
    assert "nothing is left to do" in run("migrate", "--plan", *where, **variables).stdout
    downgrade(url, "0006")
    printed = run("migrate", "--sql", *where, **variables).stdout
    assert printed.startswith("-- The catalog, from 0006 to revision")
    assert "CREATE TABLE pgchroma.collections" not in printed
    plan = run("migrate", "--plan", *where, **variables).stdout
    assert "revision 0007: Versions of collections" in plan
    assert "    1 table in access exclusive mode: pgchroma.collections" in plan
    assert _revision(url) == "0006"
    run("migrate", *where, **variables)
    assert _revision(url) == HEAD


def test_the_phases_run_one_after_the_other(run: Run, url: str) -> None:
    downgrade(url, "0006")
    for action in ((), ("--sql",), ("--plan",)):
        refused = run("migrate", *action, "--phase", "contract", "--url", url, exit_code=2)
        assert "the phase expand comes first" in refused.stderr
    for phase in ("expand", "contract"):
        done = run("migrate", "--phase", phase, "--lock-timeout", "30", "--url", url)
        assert done.stdout == f"the catalog is at revision {HEAD}\n"
    assert "sometimes" in run("migrate", "--phase", "sometimes", "--url", url, exit_code=2).stderr


def test_a_lock_that_is_not_granted_ends_the_command(run: Run, url: str) -> None:
    downgrade(url, "0006")
    with psycopg.connect(url) as reader:
        reader.execute("select from pgchroma.collections")
        failed = run("migrate", "--lock-timeout", "0.1", "--url", url, exit_code=1)
    assert "did not get a lock within 0.1 s" in failed.stderr
    assert _revision(url) == "0006"


def test_revisions_are_undone_or_the_reason_is_said(run: Run, url: str) -> None:
    done = run("migrate", "--down", "0006", "--url", url)
    assert done.stdout == "the catalog is at revision 0006\n"
    run("migrate", "--url", url)
    with pgchroma.PostgresClient(url, QUIET) as client:
        filled(client, count=1)
    refused = run("migrate", "--down", "0003", "--url", url, exit_code=1)
    assert "revision 0004 cannot be undone" in refused.stderr
    wrong = run("migrate", "--down", "head", "--url", url, exit_code=2)
    assert "'head' is not a revision before the catalog's" in wrong.stderr
    assert _revision(url) == HEAD


@pytest.mark.parametrize(
    "options",
    [
        ("--sql", "--plan"),
        ("--plan", "--down", "0001"),
        ("--sql", "--down", "0001"),
        ("--down", "0001", "--phase", "expand"),
        ("--statement-timeout", "1"),
        ("--lock-timeout", "1", "--plan"),
        ("--lock-timeout", "-1"),
        ("--lock-timeout", "soon"),
        ("--sql", "--statement-timeout", "nan"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_together_are_refused(
    options: tuple[str, ...], run: Run, url: str
) -> None:
    run("migrate", *options, "--url", url, exit_code=2)
    assert _revision(url) == HEAD


@pytest.mark.parametrize("action", ["--sql", "--plan"])
def test_a_catalog_that_is_newer_or_a_database_that_is_not_there_is_refused(
    action: str, run: Run, url: str, tmp_path: Path
) -> None:
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("update pgchroma.alembic_version set version_num = '0099'")
    assert "newer than this code's" in run("migrate", action, "--url", url, exit_code=1).stderr
    nowhere = "postgresql://app:sesame@127.0.0.1:1/app"
    failed = run("migrate", action, "--url", nowhere, exit_code=1)
    assert "cannot be reached" in failed.stderr
    assert "sesame" not in failed.stderr
    assert (
        "there is no database"
        in run("migrate", action, "--path", tmp_path / "none", exit_code=2).stderr
    )
