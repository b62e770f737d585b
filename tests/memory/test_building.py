"""An index is made of all embeddings of a segment, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine

import pgchroma
from pgchroma import errors
from pgchroma.memory import builder as building
from pgchroma.memory import source
from pgchroma.memory.builder import Builder
from pgchroma.memory.directory import OccupiedError
from pgchroma.memory.files import FileIndex
from pgchroma.memory.source import VanishedError
from tests.memory.indexed import (
    COUNT,
    DIMENSION,
    Answers,
    builder,
    built,
    check_answer,
    clustered,
    fill,
    found,
    key_of,
    remembering,
    sealed,
    watched_answers,
)
from tests.planner.segments import compact, context_of, forget, quiet, seal, tables
from tests.postgres import Postgres
from tests.reembedding.functions import Hashed

QUERY = clustered(1, seed=7)[0]

FAR = np.full(DIMENSION, 50, np.float32)
"""An embedding far from all others."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    with quiet(url, pgchroma_pool_size=1) as direct:
        yield direct


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return watched_answers(monkeypatch)


def _tokens(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select token::text from pgchroma.memory_indexes").fetchall()
    return [row[0] for row in rows]


def _ask(collection: pgchroma.Collection, query: Any = QUERY, **arguments: Any) -> Any:
    return collection.query(query_embeddings=[query], include=["distances"], **arguments)


def _late_writer(url: str, collection: pgchroma.Collection) -> psycopg.Connection[Any]:
    """A session that has drawn a position, as an upsert's first statement does, and no more."""
    connection = psycopg.connect(url)
    names = {"records": tables(collection).records, "log": tables(collection).log_literal}
    connection.execute(
        sql.SQL(
            "insert into {records} (seq, pos, id, created_at, updated_at) "
            "select drawn, drawn, 'late', now(), now() from nextval({log}) as drawn"
        ).format(**names)
    )
    return connection


def _finish(connection: psycopg.Connection[Any], collection: pgchroma.Collection) -> None:
    """Do what the second statement does."""
    names = {"records": tables(collection).records, "vectors": tables(collection).vectors}
    connection.execute(
        sql.SQL(
            "insert into {vectors} (pos, seq, embedding) "
            "select pos, seq, %s::vector from {records} where id = 'late'"
        ).format(**names),
        [str(FAR.tolist())],
    )
    connection.commit()
    connection.close()


def _with_late_writer(
    url: str, client: pgchroma.ClientAPI
) -> tuple[pgchroma.Collection, psycopg.Connection[Any]]:
    """A segment with a position that a session has drawn and not written to yet."""
    collection = client.create_collection(
        "papers", embedding_function=None, configuration={"hnsw": {"sync_threshold": 10}}
    )
    fill(collection, clustered(COUNT // 2))
    writer = _late_writer(url, collection)
    fill(collection, clustered(COUNT // 2, seed=1), first=COUNT // 2)
    seal(url, collection)
    return collection, writer


def test_writers_that_may_have_drawn_a_position_are_awaited(
    url: str, client: pgchroma.ClientAPI, directory: Path, answers: Answers
) -> None:
    collection, writer = _with_late_writer(url, client)
    key = key_of(client, collection)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(builder(url, directory).build, key)
        # Writers that begin now are not awaited.
        fill(collection, clustered(10, seed=2), first=COUNT)
        assert not waiting.done()
        _finish(writer, collection)
        assert waiting.result(timeout=60).entries == COUNT + 1
    with remembering(url, directory) as asking:
        papers = asking.get_collection("papers", embedding_function=None)
        built(asking, papers)
        assert _ask(papers, FAR, n_results=1)["ids"] == [["late"]]
    assert answers.complete == [True]


def test_without_waiting_an_embedding_would_be_missed(
    url: str,
    client: pgchroma.ClientAPI,
    directory: Path,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection, writer = _with_late_writer(url, client)
    monkeypatch.setattr(building, "await_writers", lambda *_: True)
    builder(url, directory).build(key_of(client, collection))
    _finish(writer, collection)
    with remembering(url, directory) as asking:
        papers = asking.get_collection("papers", embedding_function=None)
        built(asking, papers)
        assert _ask(papers, FAR, n_results=1)["ids"] != [["late"]]
    assert answers.complete == [True]


def test_a_writer_that_does_not_end_is_given_up(
    url: str, client: pgchroma.ClientAPI, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, writer = _with_late_writer(url, client)
    monkeypatch.setattr("pgchroma.memory.source.MAX_WAIT_SECONDS", 0.2)
    with pytest.raises(VanishedError):
        builder(url, directory).build(key_of(client, collection))
    assert not list(directory.glob("*.index"))
    writer.close()


def test_positions_that_may_be_drawn_again_get_no_index(
    url: str, client: pgchroma.ClientAPI, directory: Path
) -> None:
    collection = sealed(url, client)
    key = key_of(client, collection)
    log = tables(collection).log.as_string(None)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select setval(%s, 100)", [log])
    with pytest.raises(VanishedError):
        builder(url, directory).build(key)


def _cloned(server: Postgres, url: str, name: str) -> str:
    """A copy of a database, as after a restore of its files."""
    source = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(str(source))
            )
        )
    return make_conninfo(url, dbname=name)


def _drop(server: Postgres, name: str) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_a_database_that_was_restored_to_before_an_index(
    server: Postgres, url: str, directory: Path, answers: Answers
) -> None:
    """Its positions are drawn again, for other embeddings."""
    with quiet(url) as client:
        collection = sealed(url, client)
    name = f"restored_{conninfo_to_dict(url)['dbname']}"
    restored = _cloned(server, url, name)
    try:
        with remembering(url, directory) as client:
            papers = client.get_collection("papers", embedding_function=None)
            fill(papers, clustered(seed=1), first=COUNT)
            compact(url, papers)
            (known,) = built(client, papers)
        with remembering(restored, directory) as client:
            papers = client.get_collection("papers", embedding_function=None)
            other = clustered(seed=2)
            fill(papers, other, first=COUNT)
            compact(restored, papers)
            # The process believes in the other database's token.
            proposers: Any = context_of(client).proposers
            proposers.find = lambda _: [known]
            stored = {str(n): row for n, row in enumerate(np.vstack([clustered(), other]))}
            assert check_answer("l2", _ask(papers), QUERY, stored) >= 0.9
            assert answers.complete == [False]
            del proposers.find
            (own,) = built(client, papers)
            assert own.token != known.token
            assert check_answer("l2", _ask(papers), QUERY, stored) >= 0.9
            assert answers.complete == [False, True]
        assert collection.id == papers.id
    finally:
        _drop(server, name)


def test_a_database_that_was_restored_to_after_an_index(
    server: Postgres, url: str, directory: Path, answers: Answers
) -> None:
    """It has the token, and positions after the segment, which it draws for other embeddings."""
    with remembering(url, directory) as client:
        (known,) = built(client, sealed(url, client))
    name = f"restored_{conninfo_to_dict(url)['dbname']}"
    restored = _cloned(server, url, name)
    try:
        with remembering(url, directory) as client:
            papers = client.get_collection("papers", embedding_function=None)
            fill(papers, clustered(seed=1), first=COUNT)
        with remembering(restored, directory) as client:
            papers = client.get_collection("papers", embedding_function=None)
            (index,) = built(client, papers)
            assert index.token == known.token
            papers.add(ids="new", embeddings=[QUERY])
            assert _ask(papers, n_results=1)["ids"] == [["new"]]
            assert answers.complete == [True]
    finally:
        _drop(server, name)


def test_a_table_with_other_embeddings_at_the_same_positions(
    url: str, directory: Path, answers: Answers
) -> None:
    """As after a schema alone was restored: the catalog still has the segment and its token."""
    with remembering(url, directory) as client:
        collection = sealed(url, client)
        (before,) = built(client, collection)
        names = {"vectors": tables(collection).vectors, "last": sql.Literal(COUNT + 1)}
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in (
                "create temporary table kept as select * from {vectors}",
                "truncate {vectors}",
                "insert into {vectors} select v.pos, v.seq, other.embedding from kept as v "
                "join kept as other on other.pos = {last} - v.pos",
            ):
                connection.execute(sql.SQL(statement).format(**names))
        stored = {str(n): row for n, row in enumerate(clustered()[::-1])}
        assert check_answer("l2", _ask(collection), QUERY, stored) >= 0.9
        assert answers.complete == [False]
        (after,) = built(client, collection)
        assert after.token != before.token
        assert check_answer("l2", _ask(collection), QUERY, stored) >= 0.9
        assert answers.complete == [False, True]
    assert _tokens(url)


def test_an_older_snapshot_does_not_use_a_newer_index(
    url: str, directory: Path, answers: Answers
) -> None:
    with quiet(url) as client:
        collection = sealed(url, client)
        (first,) = _ask(collection, n_results=1)["ids"][0]
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(url),
            isolation_level="REPEATABLE READ",
        )
        settings = pgchroma.Settings(
            pgchroma_memory_index=True,
            pgchroma_memory_index_path=directory,
            pgchroma_compaction=False,
            migrations="none",
        )
        with engine.connect() as connection:
            older = pgchroma.PostgresClient(connection, settings)
            papers = older.get_collection("papers", embedding_function=None)
            assert _ask(papers, n_results=1)["ids"] == [[first]]
            collection.delete(ids=[first])
            with remembering(url, directory) as newer:
                (index,) = built(newer, newer.get_collection("papers", embedding_function=None))
            assert index.entries == COUNT - 1
            assert _ask(papers, n_results=1)["ids"] == [[first]]
            assert answers.complete == []
            # Nor if the process believed that the index could be used.
            context_of(older).proposers.find = lambda _: [index]  # type: ignore
            assert _ask(papers, n_results=1)["ids"] == [[first]]
            assert answers.complete == [False]
        engine.dispose()


def test_a_merged_segment_takes_its_index_along(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    with remembering(url, directory) as client:
        collection = sealed(url, client)
        (before,) = built(client, collection)
        assert _tokens(url) == [before.token]
        fill(collection, clustered(seed=1), first=COUNT)
        compact(url, collection)
        monkeypatch.setattr("pgchroma.memory.indexes.UNLISTED_SECONDS", 0.0)
        (after,) = built(client, collection)
        assert _tokens(url) == [after.token]
        while before.path.exists():
            found(client, collection)
            time.sleep(0.05)
        stored = {str(n): r for n, r in enumerate(np.vstack([clustered(), clustered(seed=1)]))}
        assert check_answer("l2", _ask(collection), QUERY, stored) >= 0.9
        assert answers.complete == [True]


def test_two_hosts_have_indexes_of_their_own(url: str, tmp_path: Path, answers: Answers) -> None:
    with remembering(url, tmp_path / "a") as one, remembering(url, tmp_path / "b") as other:
        (first,) = built(one, sealed(url, one))
        papers = other.get_collection("papers", embedding_function=None)
        (second,) = built(other, papers)
        assert sorted(_tokens(url)) == sorted([first.token, second.token])
        forget(one)
        for client in (one, other):
            assert len(_ask(client.get_collection("papers", embedding_function=None))["ids"][0])
        assert answers.complete == [True, True]


def test_indexes_of_more_hosts_than_are_kept_are_forgotten_after_a_day(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_TOKENS", 2)
    with remembering(url, tmp_path / "first") as client:
        key = key_of(client, sealed(url, client))
    tokens = [builder(url, tmp_path / str(n)).build(key).token for n in range(4)]
    assert sorted(_tokens(url)) == sorted(tokens)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "update pgchroma.memory_indexes set created_at = created_at - interval '2 days'"
        )
    newest = builder(url, tmp_path / "newest").build(key).token
    assert sorted(_tokens(url)) == sorted([tokens[-1], newest])


def test_processes_of_a_host_share_an_index(url: str, directory: Path) -> None:
    with remembering(url, directory) as one, remembering(url, directory) as other:
        (first,) = built(one, sealed(url, one))
        (second,) = built(other, other.get_collection("papers", embedding_function=None))
        assert first.token == second.token
    assert _tokens(url) == [first.token]


def test_one_process_of_a_host_builds_at_a_time(
    url: str, client: pgchroma.ClientAPI, directory: Path
) -> None:
    collection = sealed(url, client)
    working = builder(url, directory)
    with working.directory.locked(), pytest.raises(OccupiedError):
        builder(url, directory).build(key_of(client, collection))
    index = working.build(key_of(client, collection))
    # Another one finds it, although its own look-up was earlier.
    assert builder(url, directory).build(key_of(client, collection)).token == index.token


def test_a_segment_that_vanishes_during_a_build(
    url: str, client: pgchroma.ClientAPI, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = sealed(url, client)
    key, working = key_of(client, collection), builder(url, directory)
    write = Builder._write

    def deleting(self: Builder, *arguments: Any) -> str:
        token = write(self, *arguments)
        client.delete_collection("papers")
        return token

    monkeypatch.setattr(Builder, "_write", deleting)
    with pytest.raises(VanishedError):
        working.build(key)
    assert not list(directory.glob("*.index"))
    assert _tokens(url) == []


def test_embeddings_that_change_between_proposing_and_asking(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    """A re-embedding switches to other embeddings at the same positions, and back."""
    old, new = Hashed(seed=1, dimension=16), Hashed(seed=2, dimension=16)
    pending: list[Hashed] = []
    propose = FileIndex.propose

    with remembering(url, directory) as client, quiet(url) as switching:

        def switched(self: FileIndex, *arguments: Any) -> Any:
            while pending:
                other = switching.get_collection("papers", embedding_function=None)
                other.reembed(pending.pop())
            return propose(self, *arguments)

        monkeypatch.setattr(FileIndex, "propose", switched)
        papers = client.create_collection(
            "papers",
            embedding_function=old,
            configuration={"hnsw": {"sync_threshold": 10}},
        )
        texts = [f"text {n}" for n in range(600)]
        papers.add(ids=[f"id{n}" for n in range(600)], documents=texts)
        for current, following in ((old, new), (new, old), (old, new)):
            compact(url, papers)
            papers = client.get_collection("papers", embedding_function=current)
            built(client, papers)
            assert papers.query(query_texts=["text 7"], n_results=1)["ids"] == [["id7"]]
            pending.append(following)
            with pytest.raises(errors.InvalidArgumentError, match="re-embedded"):
                papers.query(query_texts=["text 7"], n_results=1)
            assert not pending
    assert answers.complete == [True] * 3
