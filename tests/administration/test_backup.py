"""The commands of docs/backup.md, run unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.catalog.upgrade import upgrade
from pgchroma.compactor.runner import Compaction
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.embedded.host import binaries
from tests.administration.conftest import QUIET, command
from tests.compactor.conftest import EAGER, SMALL, compact
from tests.reembedding.functions import Hashed

pytestmark = pytest.mark.heavy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backup.md"
SCHEMA = "default_tenant__default_database"
PLACE = {"tenant": "acme", "database": "docs"}


def _commands(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Callable[..., str]:
    def run(name: str, **variables: str) -> str:
        path = f"{binaries()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _commands(name)],
            env={**os.environ, "PATH": path, "URL": url, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def restored_url(url: str) -> Iterator[str]:
    """The URL of a second database, which is not created yet."""
    yield make_conninfo(url, dbname="restored")
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("drop database if exists restored with (force)")


def _create(restored_url: str) -> None:
    with psycopg.connect(make_conninfo(restored_url, dbname="pgchroma"), autocommit=True) as plain:
        plain.execute("create database restored template template0")
    with psycopg.connect(restored_url, autocommit=True) as plain:
        plain.execute("create extension vector")


def _fill(client: pgchroma.ClientAPI) -> None:
    rows = np.random.default_rng(1).standard_normal((300, 4)).astype(np.float32)
    text = {"language": "simple", "average_length": 3}
    configuration: Any = {"hnsw": {**EAGER["hnsw"], "space": "ip"}, "text": text}
    metadata: Any = {"topic": "birds", "weight": 1.0, "large": 1e300}
    papers = client.create_collection("papers", metadata=metadata, configuration=configuration)
    papers.add(
        ids=[str(n) for n in range(300)],
        embeddings=rows,
        documents=[f"document {n}" for n in range(300)],
        metadatas=[{"n": n} for n in range(300)],
    )
    papers.modify(name="papers-2")
    papers.modify(name="papers", metadata={"topic": "bees", "weight": 1.0, "large": 1e300})
    client.create_collection("x" * 90, embedding_function=None, metadata={"a": True})
    schema = pgchroma.Schema().create_index(pgchroma.SparseVectorIndexConfig(bm25=True), key="sp")
    sparse = client.create_collection("sparse", schema, embedding_function=None)
    vectors: Any = [{"sp": pgchroma.SparseVector([n, 2**31], [0.5, 1.0])} for n in range(3)]
    sparse.add(ids=["a", "b", "c"], embeddings=np.ones((3, 4)), metadatas=vectors)


def _state(client: pgchroma.ClientAPI) -> list[Any]:
    found: list[Any] = []
    for collection in client.list_collections():
        held = collection.get(include=["documents", "metadatas", "embeddings"])
        nearest: list[list[str]] = [[]]
        if held["ids"]:
            query = np.ones((1, 4), dtype=np.float32)
            nearest = collection.query(query_embeddings=query, n_results=5)["ids"]
        found.append(
            (
                collection.name,
                collection.id,
                collection.metadata,
                collection.configuration_json,
                held["ids"],
                held["documents"],
                held["metadatas"],
                np.asarray(held["embeddings"]).tolist(),
                nearest,
            )
        )
    return found


def _take(url: str, **place: str) -> list[Any]:
    with pgchroma.PostgresClient(url, QUIET, **place) as client:
        return _state(client)


def _go_on(url: str, **place: str) -> None:
    """Check that the restored collections can be read and written."""
    with pgchroma.PostgresClient(url, QUIET, **place) as client:
        papers = client.get_collection("papers")
        papers.add(ids=["new"], embeddings=[[9.0, 9.0, 9.0, 9.0]], documents=["new"])
        assert papers.count() == 301
        words = pgchroma.Search(rank=pgchroma.Text("new 299"), limit=3)
        assert papers.search(words)["ids"] == [["new", "299"]]
        assert papers.query(query_embeddings=[[1.0, 1.0, 1.0, 1.0]], n_results=1)["ids"] == [
            ["new"]
        ]
        sparse = client.get_collection("sparse", embedding_function=None)
        sparse.update("c", metadatas={"sp": pgchroma.SparseVector([7], [1.0])})
        query = pgchroma.SparseVector([1, 2**31], [1.0, 1.0])
        search = pgchroma.Search(rank=pgchroma.Knn(query, key="sp"))
        assert sparse.search(search)["ids"] == [["b", "a"]]
        client.delete_collection("sparse")
        papers.modify(name="articles")
        client.delete_collection("articles")
        client.create_collection("papers")


def _hnsw(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as plain:
        return plain.execute(
            "select s.index_name, s.is_ready, i.indexrelid is not null "
            "from pgchroma.segments as s left join pg_class as c on c.relname = s.index_name "
            "left join pg_index as i on i.indexrelid = c.oid and i.indisvalid"
        ).fetchall()


@pytest.fixture
def docs(url: str) -> list[Any]:
    """The database docs of tenant acme, with an index."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.create_tenant("acme")
        client.create_database("docs", "acme")
        client.set_tenant("acme", "docs")
        _fill(client)
        compact(url)
        return _state(client)


def test_the_whole_database(
    url: str, restored_url: str, docs: list[Any], shell: Callable[..., str]
) -> None:
    shell("whole: back up")
    shell("whole: restore", SERVER_URL=url, RESTORED_URL=restored_url)
    assert _take(restored_url, **PLACE) == docs
    assert _hnsw(restored_url) == _hnsw(url)
    _go_on(restored_url, **PLACE)


def test_a_tenant_in_another_database(
    url: str, restored_url: str, docs: list[Any], shell: Callable[..., str]
) -> None:
    assert "acme__docs" in shell("tenant: back up")
    _create(restored_url)
    shell("tenant: restore", RESTORED_URL=restored_url)
    assert _take(restored_url, **PLACE) == docs
    # The index is the one in the dump, and not built again.
    ((_, is_ready, is_there),) = _hnsw(restored_url)
    assert (is_ready, is_there) == (True, True)
    with Compaction(restored_url, SMALL, Event()) as working:
        assert not any(each.has_leftovers for each in working.collections())
    _go_on(restored_url, **PLACE)


def test_a_tenant_where_it_comes_from(url: str, docs: list[Any], shell: Callable[..., str]) -> None:
    shell("tenant: back up")
    with pgchroma.PostgresClient(url, QUIET, **PLACE) as client:
        client.delete_collection("papers")
    shell("tenant: roll back")
    assert _take(url, **PLACE) == docs
    _go_on(url, **PLACE)


@pytest.fixture
def papers(url: str) -> list[Any]:
    """The default database, filled."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        _fill(client)
        return _state(client)


def _dump(url: str, *options: str) -> Path:
    file = Path(options[-1])
    _program("pg_dump", "--format=custom", f"--dbname={url}", *options[:-1], f"--file={file}")
    return file


def _program(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [binaries() / name, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _restore(url: str, file: Path, *options: str) -> None:
    _program("pg_restore", f"--dbname={url}", *options, str(file))


def test_a_schema_over_the_one_that_is_there(
    url: str, restored_url: str, papers: list[Any], tmp_path: Path
) -> None:
    file = _dump(url, f"--schema={SCHEMA}", str(tmp_path / "dump"))
    _create(restored_url)
    with pgchroma.PostgresClient(restored_url, QUIET) as client:
        client.create_tenant("acme")
    _restore(restored_url, file, "--clean", "--if-exists")
    command("adopt", "--url", restored_url)
    assert _take(restored_url) == papers


@pytest.mark.parametrize("way", ["migrate", "client"])
def test_a_catalog_that_is_made_takes_in_what_was_restored_before(
    url: str, restored_url: str, papers: list[Any], tmp_path: Path, way: str
) -> None:
    file = _dump(url, f"--schema={SCHEMA}", str(tmp_path / "dump"))
    _create(restored_url)
    _restore(restored_url, file)
    if way == "migrate":
        command("migrate", "--url", restored_url)
    assert _take(restored_url) == papers
    _go_on(restored_url)


def test_a_schema_under_another_name(
    url: str, restored_url: str, docs: list[Any], tmp_path: Path
) -> None:
    file = _dump(url, "--schema=acme__docs", str(tmp_path / "dump"))
    _create(restored_url)
    _restore(restored_url, file)
    with psycopg.connect(restored_url, autocommit=True) as plain:
        plain.execute("alter schema acme__docs rename to acme__copy")
    refused = command("adopt", "--url", restored_url, check=False)
    assert refused.returncode == 1
    assert "schema acme__copy: its database is unknown" in refused.stderr
    options = ["--schema", "acme__copy", "--tenant", "acme", "--database", "copy"]
    command("adopt", "--url", restored_url, *options)
    assert _take(restored_url, tenant="acme", database="copy") == docs


def test_one_collection(url: str, papers: list[Any], shell: Callable[..., str]) -> None:
    shell("collection: back up")
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.delete_collection("papers")
    shell("collection: restore")
    assert _take(url) == papers
    _go_on(url)


def test_a_collection_whose_name_is_taken_is_left(
    url: str, papers: list[Any], shell: Callable[..., str]
) -> None:
    shell("collection: back up")
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.delete_collection("papers")
        client.create_collection("papers")
        client.get_collection("papers").modify(name="other")
    shell("collection: restore")
    assert [name for name, *_ in _take(url)] == ["other", "papers", "sparse", "x" * 90]
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.delete_collection("papers")
        client.get_collection("other").modify(name="papers")
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            f"create table {SCHEMA}.records_{'1' * 32} (seq bigint, pos bigint, id text, "
            "document text, uri text, metadata jsonb, created_at timestamptz, "
            "updated_at timestamptz)"
        )
        plain.execute(
            f'insert into {SCHEMA}."~catalog" select %s::uuid, entry from {SCHEMA}."~catalog" '
            "where entry ->> 'name' = 'papers'",
            ["1" * 32],
        )
    refused = command("adopt", "--url", url, check=False)
    assert refused.returncode == 1
    assert "the name papers is taken" in refused.stderr


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
def test_without_the_copy_what_can_be_is_read_off_the_tables(
    url: str, restored_url: str, space: str, tmp_path: Path
) -> None:
    configuration: Any = {"hnsw": {"space": space}, "text": {"language": "english"}}
    with pgchroma.PostgresClient(url, QUIET) as client:
        index = pgchroma.SparseVectorIndexConfig(bm25=True)
        schema = pgchroma.Schema().create_index(index, key="100% 'sparse'")
        papers = client.create_collection(
            "papers", schema, configuration=configuration, embedding_function=None
        )
        sparse: Any = [{"100% 'sparse'": pgchroma.SparseVector([n], [0.5])} for n in range(2)]
        papers.add(
            ids=["1", "2"],
            embeddings=[[1.0, 2.0], [3.0, 1.0]],
            documents=["apples", "berries"],
            metadatas=sparse,
        )
        before = papers.query(query_embeddings=[[1.0, 1.0]])
        query = pgchroma.Knn(pgchroma.SparseVector([1], [1.0]), key="100% 'sparse'")
        search = pgchroma.Search(rank=query).select_all()
        searches = [search, pgchroma.Search(rank=pgchroma.Text("berry apple"))]
        found = papers.search(searches)
        assert found["ids"] == [["2"], ["1", "2"]]
    file = _dump(url, f"--schema={SCHEMA}", "--exclude-table=*.~catalog", str(tmp_path / "dump"))
    _create(restored_url)
    _restore(restored_url, file)
    arguments = ["adopt", "--url", restored_url]
    if space != "cosine":
        refused = command(*arguments, check=False)
        assert refused.returncode == 1
        assert "its distance is unknown; give --space" in refused.stderr
        arguments += ["--space", space]
    command(*arguments)
    with pgchroma.PostgresClient(restored_url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        assert papers.query(query_embeddings=[[1.0, 1.0]]) == before
        assert papers.search(searches) == found
        assert papers.get(where_document={"$matches": "apple"})["ids"] == ["1"]
        papers.add(ids=["3"], embeddings=[[1.0, 1.0]])
        assert papers.count() == 3


def test_second_embeddings_come_along(url: str, restored_url: str, tmp_path: Path) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=Hashed(1, 3))
        papers.add(ids=["1", "2"], documents=["one", "two"])
        papers.reembed(Hashed(2, 5))
        before = papers.get_reembedding()
    file = _dump(url, f"--schema={SCHEMA}", str(tmp_path / "dump"))
    _create(restored_url)
    _restore(restored_url, file)
    command("adopt", "--url", restored_url)
    with pgchroma.PostgresClient(restored_url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=Hashed(2, 5))
        assert papers.get_reembedding() == before
        embeddings = papers.get(include=["embeddings"])["embeddings"]
        assert embeddings is not None
        assert embeddings.shape[1] == 5
        papers.drop_reembedding()


def test_a_copy_cannot_claim_to_be_another_tenants(
    url: str, restored_url: str, docs: list[Any], tmp_path: Path
) -> None:
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            'update acme__docs."~catalog" set entry = entry || \'{"tenant": "victim"}\' '
            "where id = '00000000-0000-0000-0000-000000000000'"
        )
    file = _dump(url, "--schema=acme__docs", str(tmp_path / "dump"))
    _create(restored_url)
    _restore(restored_url, file)
    refused = command("adopt", "--url", restored_url, check=False)
    assert refused.returncode == 1
    with (
        pgchroma.AdminClient(restored_url, QUIET) as admin,
        pytest.raises(errors.NotFoundError),
    ):
        admin.get_tenant("victim")


def test_what_is_in_the_catalog_is_left_as_it_is(url: str, papers: list[Any]) -> None:
    done = command("adopt", "--url", url)
    assert "nothing to adopt" in done.stdout
    for schema in ("nope", "public"):
        refused = command("adopt", "--url", url, "--schema", schema, check=False)
        assert refused.returncode == 1
        assert f"Error: --schema: no schema {schema} has pgchroma's tables" in refused.stderr
    assert _take(url) == papers


def test_the_copy_follows_the_catalog(url: str, docs: list[Any]) -> None:
    with psycopg.connect(url, autocommit=True) as plain:
        names = plain.execute(
            "select entry ->> 'name' from acme__docs.\"~catalog\" order by 1"
        ).fetchall()
        assert names == [("docs",), ("papers",), ("sparse",), ("x" * 90,)]
        with pgchroma.PostgresClient(url, QUIET, **PLACE) as client:
            client.delete_collection("papers")
        left = plain.execute('select count(*) from acme__docs."~catalog"').fetchone()
        assert left == (3,)
        plain.execute('drop table acme__docs."~catalog"')
        with pgchroma.PostgresClient(url, QUIET, **PLACE) as client:
            client.create_collection("later")
        upgrade(plain)
        assert plain.execute('select count(*) from acme__docs."~catalog"').fetchone() == (4,)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that the user of an embedded PostgreSQL can reach, who is not root."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-backup-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_a_point_in_time(open_directory: Path, shell: Callable[..., str]) -> None:
    path, copy, archive = (open_directory / name for name in ("data", "copy", "archive"))
    archive.mkdir()
    archive.chmod(0o777)
    named = {"ARCHIVE": str(archive), "BASE": str(copy / "postgres")}
    with EmbeddedPostgres.open(path) as server:
        shell("time: back up", URL=server.conninfo, **named)
    with EmbeddedPostgres.open(path) as server:
        url = server.conninfo
        with pgchroma.PostgresClient(url, QUIET) as client:
            client.create_collection("early", embedding_function=None).add(
                ids="1", embeddings=[1.0]
            )
            copy.mkdir()
            shell("time: base backup", URL=url, **named)
            client.get_collection("early", embedding_function=None).add(ids="2", embeddings=[2.0])
            with psycopg.connect(url, autocommit=True) as plain:
                moment = plain.execute("select clock_timestamp()::text").fetchone()
                assert moment is not None
                plain.execute("select pg_sleep(0.1)")
            client.delete_collection("early")
            with psycopg.connect(url, autocommit=True) as plain:
                plain.execute("select pg_switch_wal()")
    shell("time: restore", MOMENT=moment[0], **named)
    owner = (path / "postgres").stat()
    # For root PostgreSQL runs as a user of each directory's own, who has to read the archive.
    os.chown(copy, owner.st_uid, owner.st_gid)
    with pgchroma.PersistentClient(copy, QUIET) as restored:
        early = restored.get_collection("early", embedding_function=None)
        assert sorted(early.get()["ids"]) == ["1", "2"]
        early.add(ids="3", embeddings=[3.0])
    with pgchroma.PersistentClient(path, QUIET) as now:
        assert now.count_collections() == 0
