"""Sequences lower than their records' ids, as after logical replication and blue-green upgrades."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

import pgchroma
from tests.administration.conftest import QUIET, command
from tests.compactor.conftest import EAGER, compact
from tests.reembedding.functions import Hashed

SCHEMA = "default_tenant__default_database"


def _set_back(url: str, value: int = 1) -> None:
    with psycopg.connect(url, autocommit=True) as plain:
        names = plain.execute(
            "select oid::regclass::text from pg_class where relkind = 'S' and "
            "relnamespace::regnamespace::text in (%s, 'pgchroma')",
            [SCHEMA],
        ).fetchall()
        for (name,) in names:
            plain.execute("select setval(%s::regclass, %s, false)", [name, value])


def _positions(url: str, collection: pgchroma.Collection) -> tuple[int, int]:
    """The last number drawn, and the greatest that is used."""
    hex = collection.id.hex
    with psycopg.connect(url) as plain:
        found = plain.execute(
            f"select pg_sequence_last_value('{SCHEMA}.log_{hex}'), greatest("
            f"(select max(seq) from {SCHEMA}.records_{hex}), "
            f"(select max(pos) from {SCHEMA}.vectors_{hex}), "
            f"(select max(place) from {SCHEMA}.counts_{hex}))"
        ).fetchone()
    assert found is not None
    return found[0] or 0, found[1]


def _papers(url: str, count: int = 20) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(
            ids=[str(n) for n in range(count)], embeddings=[[float(n), 1.0] for n in range(count)]
        )


WRITES: dict[str, Callable[[Any], Any]] = {
    "add": lambda papers: papers.add(ids=["new"], embeddings=[[100.0, 1.0]]),
    "upsert": lambda papers: papers.upsert(ids=["new"], embeddings=[[100.0, 1.0]]),
    "update": lambda papers: papers.update(ids=["3"], embeddings=[[100.0, 1.0]]),
    "delete": lambda papers: papers.delete(ids=["4"]),
}


def _assert_whole(papers: pgchroma.Collection) -> None:
    found = papers.get(include=["embeddings"])
    assert found["embeddings"] is not None
    embeddings = dict(zip(found["ids"], found["embeddings"], strict=True))
    for id, embedding in embeddings.items():
        if id.isdigit() and embedding[0] != 100.0:
            assert embedding[0] == float(id)


@pytest.mark.parametrize("write", WRITES)
def test_the_first_write_notices(url: str, write: str, caplog: pytest.LogCaptureFixture) -> None:
    _papers(url)
    _set_back(url)
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        WRITES[write](papers)
        last, used = _positions(url, papers)
        assert last >= used
        _assert_whole(papers)
        papers.add(
            ids=[f"more-{n}" for n in range(50)], embeddings=[[0.0, float(n)] for n in range(50)]
        )
        _assert_whole(papers)
    assert "as after logical replication" in caplog.text


def test_a_client_that_is_open_already_notices(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        _papers(url)
        papers = client.get_collection("papers", embedding_function=None)
        papers.add(ids=["a"], embeddings=[[0.0, 1.0]])
        _set_back(url)
        papers.add(ids=["b"], embeddings=[[0.0, 1.0]])
        papers.upsert(ids=["c"], embeddings=[[0.0, 1.0]])
        assert papers.count() == 23
        _assert_whole(papers)


def test_a_replica_that_takes_over_is_looked_at_again(url: str) -> None:
    _papers(url)
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        papers.add(ids=["a"], embeddings=[[0.0, 1.0]])
        _set_back(url)
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        # This would not fail by itself: no record has the next positions.
        try:
            papers.update(ids=["3"], embeddings=[[100.0, 1.0]])
        except pgchroma.errors.UnavailableError:
            papers.update(ids=["3"], embeddings=[[100.0, 1.0]])
        last, used = _positions(url, papers)
        assert last >= used
        _assert_whole(papers)


def test_in_the_callers_transaction(url: str) -> None:
    _papers(url)
    _set_back(url)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.begin() as connection, pgchroma.PostgresClient(connection, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        papers.add(ids=["a"], embeddings=[[0.0, 1.0]])
        papers.upsert(ids=["b"], embeddings=[[0.0, 1.0]])
    engine.dispose()
    with pgchroma.PostgresClient(url, QUIET) as client:
        assert client.get_collection("papers", embedding_function=None).count() == 22


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["migrate", "adopt"])
def test_commands_look_at_all_collections(url: str, name: str) -> None:
    _papers(url)
    _set_back(url)
    command(name, "--url", url)
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        last, used = _positions(url, papers)
        assert last >= used


def test_second_embeddings_are_never_taken_for_anothers(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=Hashed(1))
        papers.add(ids=["1", "2"], documents=["one", "two"])
        papers.reembed(Hashed(2))
        papers.delete(ids=["2"])
        papers.drop_reembedding()
        papers.reembed(Hashed(3))
    _set_back(url)
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=Hashed(3))
        papers.add(ids=["3"], documents=["three"])
        papers.drop_reembedding()
        papers.reembed(Hashed(4))
        found = papers.query(query_texts=["three"], n_results=1)
        assert found["ids"] == [["3"]]
        assert found["distances"] is not None
        assert found["distances"][0][0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.heavy
def test_the_compactor_goes_on(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", configuration=EAGER, embedding_function=None)
        for start in (0, 200):
            ids = [str(n) for n in range(start, start + 200)]
            papers.add(ids=ids, embeddings=[[float(n), 1.0] for n in range(start, start + 200)])
            compact(url)
        _set_back(url)
        compact(url)
        papers.add(
            ids=[f"n{n}" for n in range(300)], embeddings=[[0.0, float(n)] for n in range(300)]
        )
        compact(url)
        assert papers.get_indexing_status().error is None
        assert papers.count() == 700
