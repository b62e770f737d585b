"""What the plan of an upgrade says, against the locks that PostgreSQL shows during the upgrade."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.catalog import upgrade as upgrading
from pgchroma.catalog.phases import HEAD
from pgchroma.catalog.plan import LOCK_MODES, count_rows, locks_of, plan_upgrade, statements_of
from pgchroma.catalog.revisions import migrating, revisions_after, run_upgrade
from pgchroma.catalog.sql_files import BEFORE, sql_files
from pgchroma.store import run
from pgchroma.store.layout.upgrading import find_old, layout_statements
from tests.compactor.conftest import QUIET, filled
from tests.downgrading import downgrade
from tests.older_layouts import to_layout_1

RELATIONS = """
select n.nspname || '.' || c.relname
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'v')
"""

HELD = """
select
    n.nspname || '.' || c.relname,
    lower(regexp_replace(l.mode, '([a-z])([A-Z])', '\\1 \\2', 'g'))
from pg_locks as l
join pg_class as c on c.oid = l.relation
join pg_namespace as n on n.oid = c.relnamespace
where l.pid = pg_backend_pid() and c.relkind in ('r', 'v')
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
"""


def _held(connection: psycopg.Connection[Any], existing: set[str]) -> dict[str, str]:
    """The strongest lock on each table that exists for longer, if it keeps anybody waiting."""
    held: dict[str, str] = {}
    for name, text in connection.execute(HELD):
        mode = text.removesuffix(" lock")
        if name in existing and LOCK_MODES.index(mode) >= LOCK_MODES.index("row exclusive"):
            held[name] = max(mode, held.get(name, mode), key=LOCK_MODES.index)
    return held


def _existing(connection: psycopg.Connection[Any]) -> set[str]:
    return {name for (name,) in connection.execute(RELATIONS)}


def _bookkeeping(held: dict[str, str]) -> dict[str, str]:
    """Leave out Alembic's own table, which only upgrades use."""
    return {table: mode for table, mode in held.items() if table != "pgchroma.alembic_version"}


@pytest.mark.parametrize("number", [each.number for each in revisions_after("0001")])
def test_the_plan_of_a_revision_names_the_locks_that_it_takes(number: str, url: str) -> None:
    before = f"{int(number) - 1:04}"
    downgrade(url, before)
    (step, *_) = plan_upgrade(before, [], {})
    assert step.title.startswith(f"revision {number}: ")
    with psycopg.connect(url) as plain, migrating(plain) as alembic:
        existing = _existing(plain)
        run_upgrade(alembic, number)
        assert _bookkeeping(dict(step.locks)) == _bookkeeping(_held(plain, existing))


def test_the_plan_names_the_locks_of_views_and_triggers(url: str) -> None:
    step = plan_upgrade("0006", [], {})[-1]
    assert step.title == "views, functions and triggers"
    with psycopg.connect(url) as plain:
        existing = _existing(plain)
        for name, text in sql_files().items():
            if name not in BEFORE:
                upgrading._replace(plain, text)
        held = _bookkeeping(_held(plain, existing))
    assert _bookkeeping(dict(step.locks)) == held


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_the_plan_names_the_locks_of_a_layout(space: str, url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        filled(client, "papers", count=20, space=space)
        client.create_collection("empty", embedding_function=None)
    to_layout_1(url)
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("analyze")
    with psycopg.connect(url) as plain:
        (papers,) = [each for each in run(plain, find_old()) if each.name == "papers"]
        (step,) = [
            each for each in plan_upgrade(HEAD, [papers], {}) if each.title.startswith("layout")
        ]
        assert step.rows == 20
        assert "layout 1 to 3 of 1 collection" in step.title
        existing = _existing(plain)
        for statement in layout_statements(papers):
            plain.execute(statement.text)
        held = _held(plain, existing)
    assert {**held, "pgchroma.collections": "row exclusive"} == dict(step.locks)


def test_the_plan_says_how_many_tables_and_rows_in_words() -> None:
    lines = [line for step in plan_upgrade("0002", [], {}) for line in step.lines()]
    text = "\n".join(lines)
    assert "revision 0003: A role for each tenant" in text
    assert "4 tables in access exclusive mode: pgchroma.collections, pgchroma.databases" in text
    large = plan_upgrade("0002", [], {"pgchroma.tenants": 300_000})[0]
    assert "    about 600,000 rows, about 4 s" in list(large.lines())
    assert plan_upgrade(HEAD, [], {}) == []


def test_a_plan_changes_and_locks_nothing(url: str, connection: psycopg.Connection[Any]) -> None:
    with psycopg.connect(url) as plain:
        rows = run(plain, count_rows())
        assert set(rows) >= {"pgchroma.tenants", "pgchroma.collections"}
        plan_upgrade("0003", run(plain, find_old()), rows)
        strong = {mode for _, mode in plain.execute(HELD)}
        assert strong <= {"access share lock"}


def test_statements_are_split_where_they_end() -> None:
    text = """
    -- A comment; with a semicolon.
    select 'a;''b'; do $$ begin perform 1; end $$;

    create index x on a.b (c)
    """
    assert statements_of(text) == [
        "select 'a;''b'",
        "do $$ begin perform 1; end $$",
        "create index x on a.b (c)",
    ]
    assert locks_of('alter table "a b"."c~d" add x int') == {"a b.c~d": "access exclusive"}
    assert locks_of("select 1") == {}
