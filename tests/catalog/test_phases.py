"""Phases: which code works with which catalog, and that an upgrade stops between them.

The next release is made up: a copy of the migrations with a revision that expands and one that
contracts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.catalog import offline, phases, resources, revisions, server_facts
from pgchroma.catalog import upgrade as upgrading
from pgchroma.catalog.phases import (
    HEAD,
    OLDEST,
    Phase,
    floor_of,
    needed_revision,
    works_with,
)
from pgchroma.catalog.plan import statements_of
from pgchroma.catalog.revisions import revisions_after
from pgchroma.catalog.server_facts import ServerFacts, check, needs_upgrade, read_facts
from pgchroma.catalog.upgrade import prepare, upgrade
from tests.compactor.conftest import QUIET

NEXT, AFTER = (f"{int(HEAD) + more:04}" for more in (1, 2))
"""The revisions of the next release."""

VALIDATE = QUIET.model_copy(update={"migrations": "validate"})

REVISION = '''"""{title}."""

from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("{sql}")


def downgrade() -> None:
    pass
'''


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Code with two more revisions; undone with the patch that is yielded."""
    copy = tmp_path / "migrations"
    shutil.copytree(resources.resource("migrations"), copy)
    for number, before, title, sql in (
        (NEXT, HEAD, "A note", "alter table pgchroma.tenants add column note text"),
        (AFTER, NEXT, "No index", "drop index pgchroma.credentials_tenant_idx"),
    ):
        text = REVISION.format(number=number, before=before, title=title, sql=sql)
        (copy / "versions" / f"{number}_next.py").write_text(text)
    own = resources.resource
    with monkeypatch.context() as patch:
        patch.setattr(
            revisions, "resource", lambda name: copy if name == "migrations" else own(name)
        )
        patch.setattr(phases, "CONTRACTING", frozenset({AFTER}))
        for module in (phases, offline, revisions, server_facts, upgrading):
            patch.setattr(module, "HEAD", AFTER)
        for function in (revisions.revisions_after, revisions.upgrade_sql, revisions.run_upgrade):
            patch.setattr(function, "__defaults__", (AFTER,))
        yield patch


def test_servers_are_exchanged_between_the_phases(
    url: str, connection: psycopg.Connection[Any], next_release: pytest.MonkeyPatch
) -> None:
    assert (needed_revision(), floor_of(NEXT), floor_of(AFTER)) == (NEXT, OLDEST, AFTER)
    # A newer server refuses to start before the first phase, and a rollout stops there.
    with pytest.raises(errors.VersionMismatchError, match=f"{HEAD}, this code needs {NEXT}"):
        pgchroma.PostgresClient(url, VALIDATE)
    upgrade(connection, phase=Phase.EXPAND)
    assert read_facts(connection).revision == NEXT
    # Newer servers work between the phases, and do not start the second one.
    for settings in (VALIDATE, QUIET):
        with pgchroma.PostgresClient(url, settings) as newer:
            newer.get_or_create_collection("papers").upsert(ids="1", embeddings=[1.0])
    assert read_facts(connection).revision == NEXT
    next_release.undo()
    # So do those of today's code, which start and stay ready.
    with pgchroma.PostgresClient(url, VALIDATE) as older:
        assert older.get_collection("papers").count() == 1
        older.create_collection("others")


def test_older_code_refuses_what_the_second_phase_made(
    url: str, connection: psycopg.Connection[Any], next_release: pytest.MonkeyPatch
) -> None:
    upgrade(connection)
    assert read_facts(connection).revision == AFTER
    with pgchroma.PostgresClient(url, VALIDATE) as newer:
        newer.create_collection("papers")
    next_release.undo()
    with pytest.raises(errors.VersionMismatchError, match=f"{AFTER}, newer than this code's"):
        pgchroma.PostgresClient(url, VALIDATE)


def test_a_new_catalog_has_both_phases(empty_url: str, next_release: pytest.MonkeyPatch) -> None:
    with psycopg.connect(empty_url, autocommit=True) as plain:
        assert prepare(plain).revision == AFTER


def test_the_sql_of_the_phases(url: str, next_release: pytest.MonkeyPatch) -> None:
    expand = offline.offline_sql(HEAD, phase=Phase.EXPAND)
    contract = offline.offline_sql(NEXT, phase=Phase.CONTRACT)
    assert ("add column note" in expand, "drop index" in expand) == (True, False)
    assert ("add column note" in contract, "drop index" in contract) == (False, True)
    assert "for code from revision 0007" in expand
    assert f"for code from revision {AFTER}" in contract


@pytest.mark.parametrize(
    ("revision", "floor", "works"),
    [
        (HEAD, None, True),
        ("0006", HEAD, False),
        ("9999", None, False),
        ("9999", HEAD, True),
        ("9999", "9998", False),
        (None, None, False),
    ],
)
def test_a_catalog_suits_this_code_or_is_refused(
    revision: str | None, floor: str | None, works: bool
) -> None:
    facts = ServerFacts(160_000, "0.8.6", 1, revision, floor=floor)
    assert facts.is_compatible is works
    assert revision is None or works_with(revision, floor) is works
    assert not (works and needs_upgrade(facts))
    if works:
        check(facts)
    else:
        with pytest.raises(errors.VersionMismatchError):
            check(facts)


def test_revisions_that_expand_take_nothing_away_from_the_oldest_code() -> None:
    for each in revisions_after(OLDEST):
        if each.phase is Phase.EXPAND:
            for statement in statements_of(each.sql):
                assert not re.search(
                    r"\b(drop|rename|set not null|alter column)\b", statement, re.I
                )


def test_the_catalog_records_the_oldest_code(connection: psycopg.Connection[Any]) -> None:
    assert read_facts(connection).floor == floor_of(HEAD)
