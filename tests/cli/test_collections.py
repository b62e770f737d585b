"""``pgchroma collections``, ``stats`` and ``explain``, on a database and on a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from click.testing import Result
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.cli import main
from pgchroma.model.operations import CreateCollection
from tests.commands import runner

Run = Callable[..., Result]

QUIET = pgchroma.Settings(pgchroma_compaction=False)


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("PGCHROMA_PATH", raising=False)

    def run(*args: str, code: int = 0, input: str | bytes | None = None, **env: str) -> Result:
        result = runner().invoke(main, args, input=input, env={"PGCHROMA_URL": url, **env})
        assert result.exit_code == code, result.output
        if code:
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result

    return run


@pytest.fixture
def papers(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        _fill(client)


def _fill(client: pgchroma.ClientAPI) -> None:
    papers = client.create_collection(
        "papers", configuration={"hnsw": {"space": "cosine"}}, metadata={"owner": "ada"}
    )
    vectors = np.random.default_rng(1).random((20, 4), dtype=np.float32)
    papers.add(
        ids=[str(n) for n in range(20)],
        embeddings=vectors,
        documents=[f"paper {n}" for n in range(20)],
        metadatas=[{"year": 2000 + n} for n in range(20)],
    )
    papers.delete(ids=["0"])
    client.create_collection("empty", embedding_function=None)


@pytest.mark.usefixtures("papers")
def test_collections_are_listed_with_their_sizes_by_sql(run: Run) -> None:
    empty, papers = json.loads(run("collections", "list", "--json").stdout)
    assert (empty["name"], empty["rows"], empty["dimension"]) == ("empty", 0, None)
    assert empty["embedding_function"] is None
    assert papers["bytes"] > empty["bytes"] > 0
    del papers["bytes"]
    assert papers == {
        "name": "papers",
        "rows": 19,
        "dimension": 4,
        "space": "cosine",
        "embedding_function": "default",
        "tail": 19,
    }
    table = run("collections", "list").stdout
    assert table.splitlines()[0].split() == [
        "name", "rows", "dimension", "space", "embedding", "function", "size", "tail",
    ]  # fmt: skip
    assert "KiB" in table


def test_collections_are_listed_over_http(run: Run, emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as client:
        _fill(client)
    over_http = {"PGCHROMA_URL": emptied}
    empty, papers = json.loads(run("collections", "list", "--json", **over_http).stdout)
    assert (papers["name"], papers["rows"], papers["space"]) == ("papers", 19, "cosine")
    assert papers.keys() == empty.keys() == {
        "name", "rows", "dimension", "space", "embedding_function",
    }  # fmt: skip
    shown = json.loads(run("collections", "show", "papers", "--json", **over_http).stdout)
    assert shown["metadata"] == {"owner": "ada"}
    given = ("--vector-file", "-", "--json")
    plan = run("explain", "papers", *given, input="[1, 0, 0, 0]", **over_http).stdout
    assert json.loads(plan)["strategy"] == "exact"
    run("collections", "rename", "papers", "articles", **over_http)
    run("collections", "delete", "empty", "--yes", **over_http)
    assert "articles" in run("collections", "list", **over_http).stdout
    assert "URL of a server" in run("stats", code=2, **over_http).stderr


def test_a_function_without_a_name_is_shown_as_none(run: Run, url: str) -> None:
    function = {"type": "known", "config": {}}
    with pgchroma.PostgresClient(url, QUIET) as client:
        operation = CreateCollection(client._scope, "nameless", {"embedding_function": function})
        client._backend.execute(operation)
    (listed,) = json.loads(run("collections", "list", "--json").stdout)
    assert listed["embedding_function"] is None
    assert "nameless" in run("stats").stdout


@pytest.mark.usefixtures("papers")
def test_a_collection_is_shown(run: Run) -> None:
    shown = json.loads(run("collections", "show", "papers", "--json").stdout)
    assert (shown["rows"], shown["tail"], shown["metadata"]) == (19, 19, {"owner": "ada"})
    assert shown["configuration"]["hnsw"]["space"] == "cosine"
    text = run("collections", "show", "papers").stdout
    assert "name: papers" in text
    assert '"space": "cosine"' in text
    refused = run("collections", "show", "nothing", code=2)
    assert "Collection [nothing] does not exist" in refused.stderr


@pytest.mark.usefixtures("papers")
def test_a_collection_is_deleted_only_by_someone_who_is_sure(run: Run) -> None:
    refused = run("collections", "delete", "papers", code=2)
    assert "pass --yes" in refused.stderr
    assert "papers" in run("collections", "list").stdout
    assert "papers with 19 records" in run("collections", "delete", "papers", "--yes").stdout
    assert "papers" not in run("collections", "list").stdout
    run("collections", "delete", "papers", "--yes", code=2)


@pytest.mark.usefixtures("papers")
def test_a_collection_is_renamed(run: Run, url: str) -> None:
    run("collections", "rename", "papers", "articles")
    with pgchroma.PostgresClient(url, QUIET) as client:
        assert client.get_collection("articles").count() == 19
    assert "3-512 characters" in run("collections", "rename", "articles", "a b", code=2).stderr
    assert "already exists" in run("collections", "rename", "articles", "empty", code=2).stderr


@pytest.mark.parametrize("command", [("collections", "list"), ("stats",)], ids=" ".join)
def test_an_unknown_database_is_refused(run: Run, command: tuple[str, ...]) -> None:
    if command == ("stats",):
        command = ("stats", "papers")
    refused = run(*command, "--database", "nowhere", code=2)
    assert "not found" in refused.stderr or "does not exist" in refused.stderr


@pytest.mark.usefixtures("papers")
def test_statistics_count_what_sql_counts(run: Run, connection: psycopg.Connection[Any]) -> None:
    stats = json.loads(run("stats", "papers", "--json").stdout)
    assert (stats["rows"], stats["embeddings"], stats["tail"]) == (19, 19, 19)
    assert (stats["segments"], stats["dead_share"]) == (0, 0.0)
    assert stats["last_write"] is not None
    schema = stats["schema"]
    rows = connection.execute(
        """
        select sum(pg_total_relation_size(c.oid))
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname = %s and c.relkind in ('r', 'S') and c.relname like %s
        """,
        (schema, f"%{stats['id'].replace('-', '')}%"),
    ).fetchall()
    assert stats["bytes"]["total"] == rows[0][0]
    assert sum(size for part, size in stats["bytes"].items() if part != "total") == rows[0][0]
    listed = json.loads(run("stats", "--json").stdout)
    assert [each["name"] for each in listed] == ["empty", "papers"]
    table = run("stats").stdout
    assert "2 collections, 19 rows" in table
    assert table.splitlines()[0].split() == [
        "name", "rows", "size", "segments", "tail", "dead", "last", "write",
    ]  # fmt: skip
    with pgchroma.PostgresClient(connection.info.dsn, QUIET) as client:
        client.create_database("other")
        client.set_tenant("default_tenant", "other")
        client.create_collection("long-" * 40 + "name", embedding_function=None)
    assert f"default_tenant  other             {'long-' * 40}name" in run("stats").stdout
    assert "tail of 19 embeddings" in run("stats", "papers").stdout
    assert json.loads(run("stats", "--tenant", "nobody", "--json").stdout) == []


def test_statistics_know_segments_and_dead_entries(run: Run, url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        many = client.create_collection("many", embedding_function=None)
        vectors = np.random.default_rng(1).random((1200, 8), dtype=np.float32)
        ids = [str(n) for n in range(1200)]
        many.add(ids=ids, embeddings=vectors)
        run("compact", PGCHROMA_SEGMENT_BYTES="0")
        many.delete(ids=ids[:120])
        many.add(ids=["new"], embeddings=vectors[:1])
    stats = json.loads(run("stats", "many", "--json").stdout)
    assert (stats["segments"], stats["indexed"], stats["tail"]) == (1, 1200, 1)
    assert stats["dead_share"] == pytest.approx(0.1)
    assert stats["bytes"]["segments"] > 0
    reclaimed = json.loads(run("vacuum", "--full", "--yes", "--json").stdout)
    assert reclaimed[0]["bytes_reclaimed"] > 0
    assert (
        reclaimed[0]["bytes_after"]
        == json.loads(run("stats", "many", "--json").stdout)["bytes"]["total"]
    )


def test_tables_of_a_tenants_role_are_measured_and_vacuumed(run: Run, url: str) -> None:
    settings = pgchroma.Settings(pgchroma_compaction=False, pgchroma_role_per_tenant="permissive")
    with pgchroma.PostgresClient(url, settings) as client:
        client.create_tenant("acme")
        client.create_database("docs", "acme")
        client.set_tenant("acme", "docs")
        _fill(client)
    (stats, _) = json.loads(run("stats", "--tenant", "acme", "--json").stdout)[::-1]
    assert (stats["database"], stats["name"], stats["rows"]) == ("docs", "papers", 19)
    assert run("vacuum", "--yes", "--collection", "papers").stderr.strip() == ""


def test_collections_of_one_name_are_told_apart(run: Run, url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.create_database("other")
        for database in ("default_database", "other"):
            client.set_database(database)
            papers = client.create_collection("papers", embedding_function=None)
            papers.add(ids=["a"], embeddings=[[1.0, 2.0]])
    compacted = run("compact")
    assert compacted.stderr == ""
    assert "\ndefault_tenant__default_database.papers: no index for 1" in compacted.stdout
    assert "\ndefault_tenant__other.papers: no index for 1 embeddings" in compacted.stdout
    vacuumed = run("vacuum", "--yes")
    assert vacuumed.stderr == ""
    assert vacuumed.stdout.startswith("tenant          database          name    before ")
    assert "default_tenant  other             papers  " in vacuumed.stdout


@pytest.mark.usefixtures("papers")
def test_vacuum_asks_and_waits_for_no_other_session_for_long(
    run: Run, connection: psycopg.Connection[Any]
) -> None:
    assert "pass --yes" in run("vacuum", code=2).stderr
    assert "reclaimed" in run("vacuum", "--force").stdout
    assert (
        "--collection nothing" in run("vacuum", "--yes", "--collection", "nothing", code=2).stderr
    )
    stats = json.loads(run("stats", "papers", "--json").stdout)
    table = f"{stats['schema']}.vectors_{stats['id'].replace('-', '')}"
    with connection.transaction():
        connection.execute(f"lock table {table} in access share mode")
        said = run("vacuum", "--yes", "--full", "--timeout", "1", code=1).stderr
    assert "papers: another session uses its tables" in said


@pytest.mark.usefixtures("papers")
def test_a_user_without_the_right_reclaims_nothing(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("create role cli_writer login")
    try:
        granted = runner().invoke(main, ["grants", "writer", "cli_writer", "--url", url])
        connection.execute(granted.stdout.encode())
        mine = make_conninfo(url, user="cli_writer")
        assert runner().invoke(main, ["stats", "--url", mine]).exit_code == 0
        refused = runner().invoke(main, ["vacuum", "--yes", "--url", mine])
    finally:
        connection.execute("drop owned by cli_writer; drop role cli_writer")
    assert refused.exit_code == 1
    errors = [line for line in refused.stderr.splitlines() if line]
    assert "only the owner of the tables can index them" in errors[0]
    assert errors[-1].count("permission denied to vacuum") == 2
    assert "; papers: permission denied to vacuum" in errors[-1]


@pytest.mark.usefixtures("papers")
def test_a_query_is_explained(run: Run, tmp_path: Path) -> None:
    vector = tmp_path / "vector.json"
    vector.write_text("[1, 0, 0, 0]")
    plain = run("explain", "papers", "--vector-file", str(vector)).stdout
    assert plain.startswith("exact: ")
    where = '{"year": {"$gte": 2010}}'
    given = ("--where", where, "--n", "3", "--json")
    plan = json.loads(run("explain", "papers", "--vector-file", str(vector), *given).stdout)
    assert (plan["strategy"], plan["matches"]) == ("exact", 10)
    assert plan["plan"][0]["Plan"]
    np.save(tmp_path / "vector.npy", np.eye(2, 4, dtype=np.float64))
    run("explain", "papers", "--vector-file", str(tmp_path / "vector.npy"))
    piped = run("explain", "papers", "--vector-file", "-", "--plan", input="[[1, 0, 0, 0]]").stdout
    assert "select" in piped


@pytest.mark.usefixtures("papers")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give the query with --vector-file or with --text"),
        (("--vector-file", "FILE", "--text", "x"), "give the query with"),
        (("--vector-file", "FILE", "--where", "{"), "--where: not JSON"),
        (("--vector-file", "FILE", "--where", "[]"), "--where: expected a JSON object"),
        (("--vector-file", "FILE", "--where", '{"year": {"$no": 1}}'), "$no"),
        (("--vector-file", "FILE", "--n", "0"), "--n: "),
        (("--vector-file", "WRONG"), "neither a JSON list of numbers nor"),
        (("--vector-file", "NESTED"), "neither a JSON list of numbers nor"),
        (("--vector-file", "SHORT"), "dimension"),
    ],
)
def test_a_wrong_query_is_refused(
    run: Run, options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    contents = {
        "FILE": "[1, 0, 0, 0]", "WRONG": '["a"]', "NESTED": "[[[1]]]", "SHORT": "[1, 2]",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    given = [str(tmp_path / each) if each in contents else each for each in options]
    assert message in run("explain", "papers", *given, code=2).stderr


@pytest.mark.usefixtures("papers")
def test_a_text_needs_an_embedding_function(run: Run) -> None:
    refused = run("explain", "empty", "--text", "plum cake", code=2)
    assert "You must provide an embedding function" in refused.stderr
