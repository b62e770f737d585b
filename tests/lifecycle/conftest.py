"""Clients, and checks of the rows and tables that a deletion leaves in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.client._sync.client import AdminClient

SETTINGS = pgchroma.Settings(
    allow_reset=True,
    pgchroma_compaction=False,
    # There may be a pooler in between.
    pgchroma_prepared_statements=False,
)
"""Only deletions drop tables, not the compactor."""

DISCARDED = (
    "select nspname::text from pg_namespace where starts_with(nspname, 'pgchroma:discarded')"
)


def admin_of(client: Any) -> AdminClient:
    """The administrative methods of a client's backend."""
    return AdminClient(client._backend)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A direct client without a compactor, which does not wait long for locks."""
    impatient = make_conninfo(url, options="-c lock_timeout=300")
    with pgchroma.PostgresClient(impatient, SETTINGS) as direct:
        yield direct


def fill(url: str, count: int, database: str = "default_database", start: int = 0) -> list[str]:
    """Create collections of one record each and return their tables of records."""
    with pgchroma.PostgresClient(url, SETTINGS, database=database) as client:
        made = [client.create_collection(f"papers-{n}") for n in range(start, start + count)]
        for collection in made:
            collection.add(ids="1", embeddings=[1.0, 0.0], documents="text")
    return [f"default_tenant__{database}.records_{each.id.hex}" for each in made]


def rows(url: str, query: str) -> list[Any]:
    """The rows of a statement that the owner of the database runs."""
    with psycopg.connect(url, autocommit=True) as plain:
        found = plain.execute(query)
        if found.description is None:
            return []
        return [row[0] if len(row) == 1 else row for row in found]


@contextmanager
def reading(url: str, *tables: str) -> Iterator[None]:
    """A session that reads tables and does not end its transaction."""
    with psycopg.connect(url) as plain:
        for table in tables:
            plain.execute(f"select count(*) from {table}")
        yield


def eventually(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something to be so."""
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until, "it never was"
        time.sleep(0.05)


def assert_whole(url: str) -> None:
    """Catalog and schemas agree: each database has one, and each of our schemas a database."""
    wanted = set(rows(url, "select schema_name from pgchroma.databases"))
    there = set(rows(url, "select nspname::text from pg_namespace where nspname like '%\\_\\_%'"))
    assert there == wanted
    tables = set(
        rows(url, "select 'records_' || replace(id::text, '-', '') from pgchroma.collections")
    )
    found = rows(
        url,
        "select c.relname::text from pg_class as c "
        "join pg_namespace as n on n.oid = c.relnamespace "
        "where c.relname ~ '^records_[0-9a-f]+$' and not starts_with(n.nspname, 'pgchroma:')",
    )
    assert set(found) == tables
    assert "default_tenant__default_database" in wanted
