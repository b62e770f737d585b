"""The SQL of an upgrade, run by hand: the same result as the upgrade, from each older state."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

import pgchroma
from pgchroma.catalog.offline import TimeLimits, offline_sql
from pgchroma.catalog.phases import HEAD, Phase
from pgchroma.catalog.revisions import revisions_after
from pgchroma.catalog.server_facts import read_facts
from pgchroma.catalog.upgrade import prepare, upgrade
from pgchroma.store import run
from pgchroma.store.layout.tables import LAYOUT_VERSION
from pgchroma.store.layout.upgrading import find_old
from tests.catalog.test_catalog import _shape
from tests.compactor.conftest import QUIET, filled
from tests.downgrading import downgrade
from tests.older_layouts import to_revision_0003

OLDER = [each.number for each in revisions_after("0001") if each.number != HEAD] + ["0001"]


def _script(url: str, **given: Any) -> str:
    with psycopg.connect(url, autocommit=True) as plain:
        facts = read_facts(plain)
        old = run(plain, find_old()) if facts.revision is not None else []
    return offline_sql(facts.revision, old, **given)


@pytest.mark.parametrize("revision", sorted(OLDER))
def test_the_sql_upgrades_from_every_released_revision(
    revision: str, empty_url: str, url: str
) -> None:
    with psycopg.connect(empty_url, autocommit=True) as plain:
        prepare(plain)
    downgrade(empty_url, revision)
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute(_script(empty_url).encode())
        assert prepare(plain, "validate").revision == HEAD
    assert _shape(empty_url) == _shape(url)
    assert "nothing is left to do" in _script(empty_url)


def test_the_sql_brings_the_tables_of_collections_along(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        filled(client, "papers", count=20, space="cosine").delete(ids=["0"])
        filled(client, "counts_of-sheep", count=3)
        client.create_collection("empty")
    to_revision_0003(url)
    script = _script(url)
    assert script.count("\ncommit;") == 4
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(script.encode())
        layouts = plain.execute("select distinct layout_version from pgchroma.collections")
        assert layouts.fetchall() == [(LAYOUT_VERSION,)]
    with pgchroma.PostgresClient(
        url, QUIET.model_copy(update={"migrations": "validate"})
    ) as client:
        counts = {each.name: each.count() for each in client.list_collections()}
        assert counts == {"papers": 19, "counts_of-sheep": 3, "empty": 0}


def test_the_sql_gives_up_a_step_that_gets_no_lock(url: str) -> None:
    downgrade(url, "0006")
    script = _script(url, limits=TimeLimits(lock=0.1, statement=7))
    assert "set local statement_timeout = '7000ms'" in script
    with psycopg.connect(url) as reader, psycopg.connect(url, autocommit=True) as plain:
        reader.execute("select from pgchroma.collections")
        with pytest.raises(pg.LockNotAvailable):
            plain.execute(script.encode())
        plain.execute("rollback")
        assert read_facts(plain).revision == "0006"
        reader.rollback()
        plain.execute(script.encode())
        assert read_facts(plain).revision == HEAD


def test_the_sql_of_one_phase(url: str) -> None:
    downgrade(url, "0006")
    assert "ALTER TABLE pgchroma.collections" in _script(url, phase=Phase.EXPAND)
    assert "nothing is left" in _script(url, phase=Phase.CONTRACT)


def test_a_live_upgrade_gives_up_a_step_that_gets_no_lock(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    downgrade(url, "0006")
    with psycopg.connect(url) as reader:
        reader.execute("select from pgchroma.collections")
        with pytest.raises(pgchroma.errors.InternalError, match=r"within 0\.1 s.*changed nothing"):
            upgrade(connection, lock_timeout=0.1)
    assert read_facts(connection).revision == "0006"
    upgrade(connection, lock_timeout=10)
    assert read_facts(connection).revision == HEAD
