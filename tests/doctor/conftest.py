"""A database with an indexed collection to break, and what the doctor finds in it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.catalog.upgrade import prepare
from pgchroma.compactor import passes
from pgchroma.doctor.examination import examine
from pgchroma.doctor.findings import Finding
from pgchroma.embedded import EmbeddedPostgres
from tests.compactor.conftest import EAGER, compact
from tests.postgres import Postgres

SCHEMA = "default_tenant__default_database"
DIMENSION = 8
RECORDS = 200

QUIET = pgchroma.Settings(
    allow_reset=True, pgchroma_compaction=False, pgchroma_segment_bytes=0, migrations="validate"
)
"""No index is built in the background, and few embeddings suffice for one."""

NAME = "doctor_template"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced indexes are dropped after a short pause."""
    monkeypatch.setattr(passes, "FRESH_SECONDS", 0.02)


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    """Embeddings, the same ones each time."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def fill(url: str) -> None:
    """Create an indexed collection called papers, and an empty one."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", configuration=EAGER, embedding_function=None)
        papers.add(ids=[f"id{n}" for n in range(RECORDS)], embeddings=embeddings(RECORDS))
        client.create_collection("empty", embedding_function=None)
    compact(url)


@pytest.fixture(scope="package")
def filled_template(server: Postgres, template: str) -> str:
    """The name of a template database with an indexed collection."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {NAME} template {template} strategy file_copy")
    fill(make_conninfo(server.conninfo, dbname=NAME))
    return NAME


@pytest.fixture
def url(server: Postgres, filled_template: str) -> Iterator[str]:
    """A database of the test's own, with an indexed collection."""
    name = sql.Identifier(f"test_{uuid.uuid4().hex[:12]}")
    create = sql.SQL("create database {} template {} strategy file_copy")
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(create.format(name, sql.Identifier(filled_template)))
        try:
            yield make_conninfo(server.conninfo, dbname=name.as_string(None).strip('"'))
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))


@pytest.fixture(scope="package")
def durable() -> Iterator[str]:
    """A server with settings that are fit for data, and an indexed collection."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-doctor-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        with EmbeddedPostgres.open(place / "primary") as postgres:
            with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
                prepare(connection)
            fill(postgres.conninfo)
            yield postgres.conninfo


@dataclass(frozen=True)
class Broken:
    """A database that a test breaks: its papers, by their names in PostgreSQL."""

    url: str
    connection: psycopg.Connection[Any]
    id: uuid.UUID

    @property
    def key(self) -> str:
        """The collection's id, as it is in the names of its tables."""
        return self.id.hex

    def execute(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement: `{schema}` and `{key}` stand for the names."""
        composed = text.format(schema=SCHEMA, key=self.key)
        cursor = self.connection.execute(composed.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def papers(self, run: Callable[[pgchroma.Collection], object]) -> None:
        """Call a function with the collection, of a client of its own."""
        with pgchroma.PostgresClient(self.url, QUIET) as client:
            run(client.get_collection("papers", embedding_function=None))


@pytest.fixture
def broken(url: str) -> Iterator[Broken]:
    """A database to break."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select id from pgchroma.collections where name = 'papers'"
        ).fetchone()
        assert row is not None
        yield Broken(url, connection, row[0])


def found(url: str, **options: Any) -> dict[str, list[Finding]]:
    """What the doctor finds, by the names of the checks."""
    findings: dict[str, list[Finding]] = {}
    for finding in examine(url, options.pop("settings", QUIET), **options).findings:
        findings.setdefault(finding.check, []).append(finding)
    return findings


def database_of(url: str) -> str:
    """The name of a connection string's database."""
    return str(conninfo_to_dict(url)["dbname"])
