"""The command: its list, its JSON, its exit codes, and its messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from pgchroma.cli import main
from pgchroma.doctor.checks import CHECKS
from tests.commands import runner
from tests.doctor.conftest import SCHEMA, Broken

Run = Callable[..., Result]

FIELDS = {"check", "severity", "subject", "what", "cost", "figures", "command", "fixable"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the doctor and check its exit code."""
    for name in ("URL", "URL_FILE", "PATH", "PERSIST_PATH"):
        monkeypatch.delenv(f"PGCHROMA_{name}", raising=False)
    monkeypatch.setenv("PGCHROMA_SEGMENT_BYTES", "0")

    def run(*args: str, exit_code: int = 0) -> Result:
        result = runner().invoke(main, ["doctor", *args])
        assert result.exit_code == exit_code, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_a_healthy_database_has_no_finding_above_info(durable: str, run: Run) -> None:
    shown = run("--url", durable)
    assert shown.stdout.splitlines()[-1] == (
        f"0 errors, 0 warnings, 0 notes; {len(CHECKS)} checks of database pgchroma"
    )
    report = json.loads(run("--url", durable, "--json").stdout)
    assert report["healthy"] is True
    assert report["findings"] == report["fixes"] == []
    assert report["checks"] == len(CHECKS)
    # There is nothing to mend.
    assert json.loads(run("--url", durable, "--json", "--fix").stdout)["fixes"] == []


def test_the_json_has_the_documented_fields(broken: Broken, run: Run) -> None:
    broken.execute("drop view {schema}.papers")
    report: dict[str, Any] = json.loads(run("--url", broken.url, "--json", exit_code=1).stdout)
    assert set(report) == {
        "format", "version", "database", "healthy", "checks", "counts", "findings", "fixes",
    }  # fmt: skip
    assert report["format"] == 1
    assert report["healthy"] is False
    assert sum(report["counts"].values()) == len(report["findings"])
    for finding in report["findings"]:
        assert set(finding) == FIELDS
    (missing,) = [each for each in report["findings"] if each["check"] == "missing-view"]
    assert missing["fixable"] is True
    assert missing["subject"] == "default_tenant/default_database/papers"


def test_fix_prints_what_it_did_and_looks_again(broken: Broken, run: Run) -> None:
    broken.execute("drop view {schema}.papers")
    broken.execute("create index again on {schema}.records_{key} (id)")
    broken.execute("insert into {schema}.counts_{key} values (-1, 7, 0)")
    shown = run("--url", broken.url, exit_code=1).stdout
    assert "missing-view  default_tenant/default_database/papers: the view" in shown
    assert "mend: pgchroma doctor --fix  (--fix does it)" in shown
    shown = run("--url", broken.url, "--fix", exit_code=1).stdout
    fixed = [line for line in shown.splitlines() if line.startswith("Fixed: ")]
    assert fixed == [
        "Fixed: default_tenant/default_database/papers: created its view",
        "Fixed: default_tenant/default_database/papers: counted its records",
    ]
    # The index that someone created is left, and the exit code says so.
    assert "duplicate-index" in shown
    assert "missing-view" not in shown
    assert f'mend: drop index concurrently "{SCHEMA}"."again"' in shown


def test_a_fix_that_fails_says_why(broken: Broken, run: Run) -> None:
    broken.execute("insert into {schema}.counts_{key} values (-1, 7, 0)")
    (held,) = broken.execute(
        "select pg_try_advisory_lock(%s, ('x' || left('{key}', 8))::bit(32)::int)", 0x70676368
    )
    assert held == (True,)
    report = json.loads(run("--url", broken.url, "--fix", "--json", exit_code=1).stdout)
    assert report["fixes"] == [
        {
            "action": "recount",
            "subject": "default_tenant/default_database/papers",
            "done": False,
            "obstacle": "a compactor works on the collection",
        }
    ]
    shown = run("--url", broken.url, "--fix", exit_code=1).stdout
    assert "Not fixed: default_tenant/default_database/papers: recount: a compactor" in shown


def test_only_the_collections_that_are_named_are_examined(broken: Broken, run: Run) -> None:
    broken.execute("drop view {schema}.papers")
    arguments = ("--url", broken.url, "--json", "--collection")
    for name, checks in (("empty", {"durability"}), ("papers", {"durability", "missing-view"})):
        report = json.loads(run(*arguments, name, exit_code=1).stdout)
        assert {finding["check"] for finding in report["findings"]} == checks
    refused = run(*arguments, "nothing", exit_code=2)
    assert refused.stderr == "Error: --collection nothing: there is no collection of that name\n"
    assert refused.stdout == ""


@pytest.mark.parametrize("arguments", [("--timeout", "0"), ("--unknown",), ("surplus",)])
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...], url: str, run: Run) -> None:
    refused = run("--url", url, *arguments, exit_code=2)
    assert len(refused.stderr.splitlines()) == 1


def test_a_database_that_cannot_be_reached_ends_with_1(run: Run) -> None:
    refused = run("--url", "postgresql://127.0.0.1:1/none", exit_code=1)
    assert len(refused.stderr.splitlines()) == 1


def test_a_long_list_is_cut_and_the_json_is_not(broken: Broken, run: Run) -> None:
    broken.execute(
        "create table {schema}.many (); select 1; "
        + "; ".join(f"create table {{schema}}.records_{n:032x} (seq bigint)" for n in range(1, 15))
    )
    shown = run("--url", broken.url, exit_code=1).stdout
    assert shown.count("warning leftover-tables") == 10
    assert "… and 4 more of leftover-tables" in shown
    report = json.loads(run("--url", broken.url, "--json", exit_code=1).stdout)
    assert [each["check"] for each in report["findings"]].count("leftover-tables") == 14


def test_recall_is_measured_on_request(
    broken: Broken, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgchroma.doctor.checks import recall  # noqa: PLC0415

    arguments = ("--url", broken.url, "--json")
    assert "recall" not in run(*arguments, exit_code=1).stdout
    report = json.loads(run(*arguments, "--recall", exit_code=1).stdout)
    (measured,) = [each for each in report["findings"] if each["check"] == "recall"]
    assert measured["severity"] == "info"
    assert 0.5 < measured["figures"]["recall"] <= 1
    assert measured["figures"]["sample"] == 50
    monkeypatch.setattr(recall, "MIN_RECALL", 1.1)
    report = json.loads(run(*arguments, "--recall", exit_code=1).stdout)
    (measured,) = [each for each in report["findings"] if each["check"] == "recall"]
    assert measured["severity"] == "warning"
    assert measured["command"] == 'collection.modify(configuration={"hnsw": {"ef_search": 200}})'
