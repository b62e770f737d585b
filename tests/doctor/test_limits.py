"""What the doctor does where it may not look, in damaged catalogs, and behind poolers."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.doctor import database as doctor_database
from pgchroma.doctor.checks.versions import TABLES
from pgchroma.doctor.examination import examine
from pgchroma.doctor.findings import Severity
from pgchroma.doctor.fixes import apply_fixes
from pgchroma.store.access import access_of
from pgchroma.store.rights import Profile, grants_for
from pgchroma.store.running._sync.driver import run
from tests import pgbouncer
from tests.doctor.conftest import QUIET, SCHEMA, Broken, database_of, found


@pytest.fixture
def user(broken: Broken) -> Iterator[str]:
    """The name of a role that may log in, and nothing else."""
    name = f"user_{uuid.uuid4().hex[:8]}"
    broken.execute(f"create role {name} login")
    yield name
    broken.execute(f"drop owned by {name}; drop role {name}")


def _grant(broken: Broken, user: str, profile: Profile) -> None:
    access = run(broken.connection, access_of([SCHEMA], user))
    for statement in grants_for(access, profile):
        broken.connection.execute(statement.encode())


def _severe(findings: dict[str, list[Any]]) -> set[str]:
    """The checks with a finding above info; the tests' server is not durable."""
    return {
        name
        for name, faults in findings.items()
        if any(fault.severity is not Severity.INFO for fault in faults)
    } - {"durability"}


def test_a_reader_gets_notes_only(broken: Broken, user: str) -> None:
    _grant(broken, user, Profile.READER)
    findings = found(make_conninfo(broken.url, user=user))
    assert _severe(findings) == set()
    assert {"serving-rights", "compaction-rights", "administration-rights"} <= findings.keys()
    assert [each.subject for each in findings["not-checked"]] == ["long-transaction"]
    broken.execute(f"grant pg_monitor to {user}")
    assert "not-checked" not in found(make_conninfo(broken.url, user=user))


def test_a_user_without_rights_learns_what_was_not_checked(broken: Broken, user: str) -> None:
    findings = found(make_conninfo(broken.url, user=user))
    assert _severe(findings) == set()
    (catalog,) = [each for each in findings["not-checked"] if each.subject == "catalog"]
    assert catalog.what.endswith("checks were not done: permission denied for schema pgchroma")


def test_a_reader_of_the_catalog_alone_learns_which_tables_are_closed(
    broken: Broken, user: str
) -> None:
    broken.execute(f"grant usage on schema pgchroma to {user}")
    broken.execute(f"grant select on all tables in schema pgchroma to {user}")
    findings = found(make_conninfo(broken.url, user=user))
    assert _severe(findings) == set()
    closed = [each for each in findings["not-checked"] if each.subject == "serving-rights"]
    assert [each.figures["tables"] for each in closed] == [5]


def test_a_writer_of_some_collections_is_warned(broken: Broken, user: str) -> None:
    _grant(broken, user, Profile.READER)
    broken.execute(f"grant insert, update, delete on {{schema}}.records_{{key}} to {user}")
    (fault,) = found(make_conninfo(broken.url, user=user))["serving-rights"]
    assert fault.severity is Severity.WARNING
    assert fault.command == f'pgchroma grants writer "{user}"'
    broken.execute(f"alter table {{schema}}.records_{{key}} owner to {user}")
    findings = found(make_conninfo(broken.url, user=user))
    assert findings["compaction-rights"][0].severity is Severity.WARNING
    broken.execute("alter table {schema}.records_{key} owner to current_user")


def test_fixes_that_the_user_may_not_do_are_reported(broken: Broken, user: str) -> None:
    _grant(broken, user, Profile.READER)
    broken.execute("drop view {schema}.papers; drop view chroma.collections")
    url = make_conninfo(broken.url, user=user)
    findings = [fault for faults in found(url).values() for fault in faults]
    outcomes = apply_fixes(url, QUIET, findings)
    assert [outcome.fix.action for outcome in outcomes] == [
        "restore-catalog-objects",
        "create-view",
    ]
    assert all(outcome.obstacle for outcome in outcomes)


def test_row_level_security_is_no_empty_catalog(broken: Broken, user: str) -> None:
    _grant(broken, user, Profile.READER)
    broken.execute("alter table pgchroma.collections enable row level security")
    findings = found(make_conninfo(broken.url, user=user))
    assert "row-level security" in findings["not-checked"][0].what


@pytest.mark.parametrize("table", [*TABLES, "alembic_version"])
def test_a_damaged_catalog_is_a_finding(table: str, broken: Broken) -> None:
    broken.execute(f"drop table pgchroma.{table} cascade")
    findings = found(broken.url)
    name = "catalog-revision" if table == "alembic_version" else "catalog-tables"
    assert findings[name][0].severity is Severity.ERROR
    assert "check-failed" not in findings


def test_a_check_that_fails_is_a_finding(broken: Broken) -> None:
    broken.execute("alter table pgchroma.segments rename entries to elements")
    findings = found(broken.url)
    assert {each.subject for each in findings["check-failed"]} == {
        "missing-index", "unindexed-tail", "dead-entries",
    }  # fmt: skip
    assert all(each.severity is Severity.WARNING for each in findings["check-failed"])


def test_a_configuration_that_is_no_configuration_does_not_stop_the_others(
    broken: Broken,
) -> None:
    broken.execute(
        "update pgchroma.collections set configuration = '\"none\"' where id = %s", broken.id
    )
    broken.execute("drop view {schema}.papers")
    assert "missing-view" in found(broken.url)


def test_tables_that_are_locked_are_not_checked(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_database, "LOCK_TIMEOUT", "20ms")
    with psycopg.connect(broken.url) as holder:
        holder.execute(f"lock table {SCHEMA}.counts_{broken.key}".encode())
        findings = found(broken.url)
        holder.rollback()
    assert _severe(findings) == set()
    (orphans,) = [each for each in findings["not-checked"] if each.subject == "orphan-vectors"]
    assert "lock timeout" in orphans.what


def test_a_check_that_takes_too_long_is_not_checked(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgchroma.doctor.checks import rows as rows_checks  # noqa: PLC0415

    slow = rows_checks._ROWS.replace("select\n", "select pg_sleep(10)::text::bigint,\n", 1)
    monkeypatch.setattr(rows_checks, "_ROWS", slow)
    findings = found(broken.url, seconds=0.3)
    (orphans,) = [each for each in findings["not-checked"] if each.subject == "orphan-vectors"]
    assert "statement timeout" in orphans.what
    assert "wrong-count" not in findings


def test_many_collections_that_take_too_long_do_not_take_forever(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgchroma.doctor import collections as doctor_collections  # noqa: PLC0415
    from pgchroma.doctor.checks import rows as rows_checks  # noqa: PLC0415

    monkeypatch.setattr(doctor_collections, "TIMEOUTS", 0)
    monkeypatch.setattr(rows_checks, "_ROWS", "select 1 / 0, 0, 0, 0")
    (orphans,) = [
        each for each in found(broken.url)["not-checked"] if each.subject == "orphan-vectors"
    ]
    assert orphans.what.endswith("the check took too long")
    assert orphans.figures == {"collections": 2}


def test_round_trips_do_not_grow_with_the_collections(broken: Broken) -> None:
    few = examine(broken.url, QUIET)
    with pgchroma.PostgresClient(broken.url, QUIET) as client:
        for n in range(60):
            client.create_collection(f"many{n}", embedding_function=None)
    many = examine(broken.url, QUIET)
    assert few.findings == many.findings
    # Two statements read the rows and the logs of fifty collections each.
    assert many.round_trips <= few.round_trips + 3
    assert few.round_trips < 70


def test_a_pooler_in_transaction_mode_is_found(url: str, bouncer: str) -> None:
    through = make_conninfo(bouncer, dbname=database_of(url))
    findings = found(through)
    (pooler,) = findings["pooler"]
    assert pooler.severity is Severity.WARNING
    assert "transaction mode" in pooler.what
    assert "PGCHROMA_COMPACTION_URL" in pooler.command
    assert "check-failed" not in findings
    direct = QUIET.model_copy(update={"pgchroma_compaction_url": url})
    assert found(through, settings=direct)["pooler"][0].severity is Severity.INFO


def test_repairs_go_around_the_pooler(broken: Broken, bouncer: str) -> None:
    through = make_conninfo(bouncer, dbname=database_of(broken.url))
    broken.execute("insert into {schema}.counts_{key} values (-1, 7, 0)")
    findings = found(through)["wrong-count"]
    (outcome,) = apply_fixes(through, QUIET, findings)
    assert "pooler" in str(outcome.obstacle)
    direct = QUIET.model_copy(update={"pgchroma_compaction_url": broken.url})
    (outcome,) = apply_fixes(through, direct, findings)
    assert outcome.obstacle is None
    assert "wrong-count" not in found(broken.url)


def test_a_pooler_in_statement_mode_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if pgbouncer.PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    by_statement = pgbouncer._CONFIGURATION.replace("= transaction", "= statement")
    monkeypatch.setattr(pgbouncer, "_CONFIGURATION", by_statement)
    with (
        tempfile.TemporaryDirectory(prefix="pgchroma-bouncer-") as directory,
        pgbouncer.bouncing(url, Path(directory)) as through,
    ):
        findings = found(make_conninfo(through, dbname=database_of(url)))
    assert findings.keys() == {"pooler", "not-checked"}
    assert findings["pooler"][0].severity is Severity.ERROR
