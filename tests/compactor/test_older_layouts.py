"""Collections whose tables have an older layout, used before anything has upgraded them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.cli import main
from pgchroma.compactor.layouts import upgrade_layouts
from pgchroma.compactor.once import compact_all
from pgchroma.compactor.thread import Compactor
from pgchroma.store.layout.tables import LAYOUT_VERSION
from tests.compactor.conftest import QUIET, SMALL, compact, filled, vectors
from tests.conftest import client_modes
from tests.older_layouts import SCHEMA, layouts, to_layout_1
from tests.reembedding.functions import Hashed
from tests.server_process import eventually

VALIDATING = QUIET.model_copy(update={"migrations": "validate"})

NAMES = ("papers-0", "papers-1", "papers-2")

USES: dict[str, dict[str, Any]] = {
    "add": {"ids": ["new"], "embeddings": vectors(1)},
    "upsert": {"ids": ["0"], "embeddings": vectors(1)},
    "update": {"ids": ["0"], "metadatas": [{"number": 7}]},
    "delete": {"ids": ["0"]},
    "get": {"ids": ["0"]},
    "query": {"query_embeddings": vectors(1), "n_results": 1},
    "explain": {"query_embeddings": vectors(1), "n_results": 1},
    "count": {},
    "modify": {"name": "renamed"},
}


@pytest.fixture
def older(url: str) -> str:
    """A database in which three collections have the tables of layout 1."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        for name in NAMES:
            filled(client, name, count=20)
    to_layout_1(url)
    return url


@client_modes
async def test_a_use_upgrades_the_tables_of_a_collection(mode: Any) -> None:
    names = [f"counts_of-{use}" for use in (*USES, "deleted")]
    with mode.beside() as client:
        for name in names:
            filled(client, name, count=5)
    to_layout_1(mode.unpooled)
    for use, name in zip(USES, names, strict=False):
        collection = await mode.get_collection(name)
        await getattr(collection, use)(**USES[use])
        assert await collection.count() == {"add": 6, "delete": 4}.get(use, 5)
        used = "renamed" if use == "modify" else name
        assert layouts(mode.unpooled, [used]) == {LAYOUT_VERSION}
    await mode.delete_collection(names[-1])
    with psycopg.connect(mode.unpooled) as plain:
        views = plain.execute(
            "select viewname from pg_views where schemaname = %s and starts_with(viewname, %s)",
            [SCHEMA, names[-1]],
        ).fetchall()
    assert views == []


def test_a_reembedding_upgrades_the_tables_of_a_collection(url: str) -> None:
    texts = [f"text {n}" for n in range(5)]
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=Hashed())
        papers.add(ids=texts, documents=texts)
    to_layout_1(url)
    with pgchroma.PostgresClient(url, VALIDATING) as client:
        papers = client.get_collection("papers", embedding_function=Hashed())
        assert papers.reembed(Hashed(seed=2), index_timeout=None).is_switched
        assert papers.count() == 5
    assert layouts(url) == {LAYOUT_VERSION}


def test_a_use_in_the_transaction_of_a_caller_is_undone_with_it(older: str) -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(older))
    with engine.connect() as connection:
        client = pgchroma.PostgresClient(connection, VALIDATING)
        assert client.get_collection("papers-0").count() == 20
        connection.rollback()
        assert layouts(older) == {1}
        client = pgchroma.PostgresClient(connection, VALIDATING)
        client.get_collection("papers-0").add(ids="new", embeddings=vectors(1))
        connection.commit()
    engine.dispose()
    assert layouts(older, ["papers-0"]) == {LAYOUT_VERSION}
    with pgchroma.PostgresClient(older, VALIDATING) as direct:
        assert [each.count() for each in direct.list_collections()] == [21, 20, 20]


def test_many_that_use_a_collection_at_once_upgrade_it_once(older: str) -> None:
    with pgchroma.PostgresClient(older, VALIDATING) as client:
        collections = client.list_collections()
        with ThreadPoolExecutor(8) as threads:
            counts = list(threads.map(lambda n: collections[n % 3].count(), range(24)))
    assert counts == [20] * 24
    assert layouts(older) == {LAYOUT_VERSION}


@pytest.fixture
def reader(older: str) -> Iterator[str]:
    """The URL of a user who may read everything and owns nothing."""
    role = sql.Identifier("reader_of_older_layouts")
    with psycopg.connect(older, autocommit=True) as plain:
        plain.execute(sql.SQL("create role {} login").format(role))
        arguments = ["grants", "reader", "reader_of_older_layouts", "--url", older]
        plain.execute(CliRunner().invoke(main, arguments).stdout.encode())
        yield make_conninfo(older, user="reader_of_older_layouts")
        plain.execute(sql.SQL("drop owned by {}").format(role))
        plain.execute(sql.SQL("drop role {}").format(role))


def test_a_user_without_the_rights_is_told_who_upgrades(older: str, reader: str) -> None:
    with pgchroma.PostgresClient(reader, VALIDATING) as client:
        papers = client.get_collection("papers-0")
        with pytest.raises(errors.VersionMismatchError, match="Run: pgchroma migrate"):
            papers.count()
        assert CliRunner().invoke(main, ["migrate", "--url", older]).exit_code == 0
        assert papers.count() == 20


def test_the_sql_functions_refuse_an_older_layout(
    older: str, connection: psycopg.Connection[Any]
) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        connection.execute("select chroma.count('papers-0')")
    assert refusal.value.diag.message_hint == "Run: pgchroma migrate"
    with pgchroma.PostgresClient(older, VALIDATING) as client:
        client.get_collection("papers-0").count()
    assert connection.execute("select chroma.count('papers-0')").fetchall() == [(20,)]


def test_the_sql_functions_know_the_present_layout(connection: psycopg.Connection[Any]) -> None:
    function = "chroma._collection(text, text, text)"
    (text,) = connection.execute(
        "select prosrc from pg_proc where oid = %s::regprocedure", [function]
    ).fetchone() or ("",)
    assert f"layout_version < {LAYOUT_VERSION} " in text


def test_a_compactor_upgrades_what_is_not_used(older: str) -> None:
    compactor = Compactor(older, SMALL)
    compactor.start()
    try:
        eventually(lambda: layouts(older) == {LAYOUT_VERSION})
    finally:
        compactor.close()


@pytest.fixture
def locked(older: str) -> Iterator[str]:
    """The name of a collection that another session writes to."""
    with psycopg.connect(older) as writer:
        (id,) = writer.execute(
            "select id from pgchroma.collections where name = 'papers-1'"
        ).fetchone() or (None,)
        assert id is not None
        writer.execute(f"update {SCHEMA}.records_{id.hex} set document = 'changed'")
        yield "papers-1"


def test_a_collection_with_a_writer_is_upgraded_later(older: str, locked: str) -> None:
    refused: list[tuple[str, str]] = []
    assert upgrade_layouts(older, Event()) == [(locked, "canceling statement due to lock timeout")]
    assert layouts(older, ["papers-0", "papers-2"]) == {LAYOUT_VERSION}
    assert layouts(older, [locked]) == {1}
    # Passes leave it out.
    compact(older)
    report = compact_all(older, SMALL, on_failure=lambda *failure: refused.append(failure))
    assert (report.total, report.failed, report.idle) == (3, 1, 2)
    assert refused == [(locked, "canceling statement due to lock timeout")]
    assert compact_all(older, SMALL, ["papers-0"]).failed == 0
    assert compact_all(older, SMALL, [locked, "unknown"]).unknown == ["unknown"]


def test_a_stopped_compactor_leaves_the_rest(older: str) -> None:
    stop = Event()
    stop.set()
    assert upgrade_layouts(older, stop) == []
    assert layouts(older) == {1}
