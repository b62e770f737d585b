"""Undoing revisions: where nothing is lost, and why not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.catalog.downgrade import downgrade
from pgchroma.catalog.phases import HEAD
from pgchroma.catalog.server_facts import read_facts
from pgchroma.catalog.upgrade import prepare
from tests.catalog.test_catalog import _shape
from tests.compactor.conftest import QUIET, filled

UNDONE = ["0001", "0003", "0006"]


@pytest.mark.parametrize("revision", UNDONE)
def test_revisions_of_a_catalog_without_data_are_undone_and_done_again(
    revision: str, empty_url: str, url: str
) -> None:
    with psycopg.connect(empty_url, autocommit=True) as plain:
        prepare(plain)
        downgrade(plain, revision)
        assert read_facts(plain).revision == revision
        with pytest.raises(errors.VersionMismatchError, match=f"is at revision {revision}"):
            prepare(plain, "validate")
        prepare(plain)
    assert _shape(empty_url) == _shape(url)


def test_collections_survive_an_undone_revision(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        filled(client, count=20).delete(ids=["0"])
    downgrade(connection, "0005")
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers")
        assert papers.count() == 19
        papers.upsert(ids="20", embeddings=[1.0] * 8)
        assert papers.count() == 20


def _sparse(client: pgchroma.ClientAPI) -> None:
    schema = pgchroma.Schema().create_index(
        key="words", config=pgchroma.SparseVectorIndexConfig(bm25=True)
    )
    client.create_collection("papers", schema=schema, embedding_function=None)


def _reembedded(client: pgchroma.ClientAPI) -> None:
    filled(client, count=3)


@pytest.mark.parametrize(
    ("revision", "fill", "statement", "reason"),
    [
        (
            "0007",
            None,
            "create view public.mine as select collection from chroma.collections",
            "0008 cannot be undone: a view outside the schema",
        ),
        ("0006", _sparse, None, "0007 cannot be undone: .*sparse vectors and words"),
        (
            "0004",
            _reembedded,
            "update pgchroma.collections set generation = 2",
            "0005 cannot be undone: .*re-embedded",
        ),
        ("0003", filled, None, "0004 cannot be undone: .*count the records"),
        (
            "0002",
            None,
            "update pgchroma.tenants set role_name = 'pgchroma:x'",
            "0003 cannot be undone: tenants have roles",
        ),
        (
            "0001",
            None,
            "insert into pgchroma.credentials (id, kind, name, role, secret_hash) "
            "values ('x', 'key', 'ci', 'read', 'x')",
            "0002 cannot be undone: keys and users would be lost",
        ),
        ("0000", None, None, "0001 cannot be undone: .*every tenant and database"),
    ],
)
def test_what_older_code_cannot_use_is_not_undone(
    revision: str,
    fill: Callable[[pgchroma.ClientAPI], Any] | None,
    statement: str | None,
    reason: str,
    url: str,
    connection: psycopg.Connection[Any],
) -> None:
    if fill is not None:
        with pgchroma.PostgresClient(url, QUIET) as client:
            fill(client)
    if statement is not None:
        connection.execute(statement.encode())
    before = _shape(url)
    with pytest.raises(errors.VersionMismatchError, match=rf"{reason}.*Nothing was changed"):
        downgrade(connection, revision)
    assert read_facts(connection).revision == HEAD
    assert _shape(url) == before


@pytest.mark.parametrize("revision", ["7", "base", HEAD, "0099", "-001", "00١1"])
def test_only_older_revisions_are_accepted(
    revision: str, connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="is not a revision before"):
        downgrade(connection, revision)


def test_a_database_without_a_catalog_or_with_a_newer_one_is_refused(
    empty_url: str, connection: psycopg.Connection[Any]
) -> None:
    no_catalog = pytest.raises(errors.InvalidArgumentError, match="has no pgchroma catalog")
    with psycopg.connect(empty_url, autocommit=True) as plain, no_catalog:
        downgrade(plain, "0001")
    connection.execute("update pgchroma.alembic_version set version_num = '0099'")
    with pytest.raises(errors.VersionMismatchError, match="newer than this code's"):
        downgrade(connection, "0006")
