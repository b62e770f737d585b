"""`pgchroma import`, `export` and `copy`: what they are told, print and exit with."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result

import pgchroma
from pgchroma.cli import main
from pgchroma.model.types import Include
from tests.commands import runner

Run = Callable[..., Result]

LINES = [
    {"id": "a", "embedding": [1.0, 0.5], "document": "one", "metadata": {"n": 1}},
    {"id": "b", "embedding": [0.25, 1.0], "document": "two", "metadata": {"n": 2, "x": {"y": 1}}},
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("URL", "URL_FILE", "PATH", "PERSIST_PATH", "API_KEY", "FROM_API_KEY"):
        monkeypatch.delenv(f"PGCHROMA_{name}", raising=False)

    def run(*args: str | Path, exit_code: int = 0) -> Result:
        result = runner().invoke(main, [str(arg) for arg in args])
        assert result.exit_code == exit_code, result.output + result.stderr
        if exit_code == 2:
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "papers.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return path


def test_what_is_lost_is_reported_and_is_a_failure(
    run: Run, url: str, file: Path, tmp_path: Path
) -> None:
    reported = tmp_path / "report.json"
    result = run("import", file, "--url", url, "--report", reported, exit_code=1)
    first, second = result.stdout.splitlines()
    assert first.startswith("default_tenant/default_database/papers: 2 of 2 records in ")
    assert "verified: ids, documents, uris, metadatas, embeddings, 4 distances" in first
    assert second.strip() == (
        "not saved: metadata, once: key x has a nested value; --nested json keeps it as text ('b')"
    )
    assert result.stderr.splitlines() == [
        "Error: 1 of 1 collections are not as in the source; not saved: metadata of 1 record; "
        f"{reported} lists all of it"
    ]
    (collection,) = json.loads(reported.read_text())["collections"]
    assert collection["losses"][0]["id"] == "b"
    client = pgchroma.PostgresClient(url)
    assert client.get_collection("papers").get("b")["metadatas"] == [{"n": 2}]
    client.close()


@pytest.fixture
def files(file: Path) -> Path:
    """A directory with a collection that can be read, and one that cannot."""
    rows = [{"id": f"id-{n}", "embedding": [0.5, n], "metadata": {"n": n}} for n in range(5_000)]
    data = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    (file.parent / "torn.jsonl.gz").write_bytes(data[: len(data) // 2])
    return file.parent


def test_a_report_is_written_if_a_later_collection_fails(
    run: Run, url: str, files: Path, tmp_path: Path
) -> None:
    reported = tmp_path / "report.json"
    result = run("import", files, "--url", url, "--report", reported, exit_code=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    papers, torn = json.loads(reported.read_text())["collections"]
    assert (papers["status"], papers["error"]) == ("complete", None)
    assert papers["losses"][0]["id"] == "b"
    assert torn["status"] == "failed"
    assert f"Error: {torn['error']}. The records" in line
    assert "torn.jsonl.gz is cut off" in torn["error"]
    assert 0 < torn["written"] < 5_000
    assert not torn["faithful"]


def test_json_is_printed_if_a_collection_fails(run: Run, url: str, files: Path) -> None:
    result = run("import", files, "--url", url, "--collection", "torn", "--json", exit_code=1)
    assert json.loads(result.stdout)["collections"][0]["status"] == "failed"
    assert len(result.stderr.splitlines()) == 1


def test_a_report_of_exports_is_written_if_one_fails(run: Run, url: str, tmp_path: Path) -> None:
    with pgchroma.PostgresClient(url) as client:
        for name in ("first", "second"):
            client.create_collection(name).add("a", embeddings=[1.0])
    (tmp_path / "files" / "second.jsonl").mkdir(parents=True)
    reported = tmp_path / "report.json"
    options = ("--format", "jsonl", "--yes", "--report", reported)
    result = run("export", tmp_path / "files", "--url", url, *options, exit_code=1)
    assert len(result.stderr.splitlines()) == 1
    first, second = json.loads(reported.read_text())["collections"]
    assert (first["status"], first["written"]) == ("complete", 1)
    assert second["status"] == "failed"
    assert "cannot be written" in second["error"]


def test_a_report_that_cannot_be_written_does_not_hide_the_error(
    run: Run, url: str, files: Path
) -> None:
    reported = Path("/dev/full")
    result = run(
        "import", files, "--url", url, "--collection", "torn", "--report", reported, exit_code=1
    )
    warning, error = result.stderr.splitlines()
    assert warning == f"Warning: --report: {reported}: No space left on device"
    assert "torn.jsonl.gz is cut off" in error


def test_a_report_that_cannot_be_written_is_refused_before_the_import(
    run: Run, url: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write to any directory, but not on a file system that is mounted for reading.
    monkeypatch.setattr("pgchroma.cli.transfers.os.access", lambda path, _mode: path != tmp_path)
    report = tmp_path / "report.json"
    refused = run("import", file, "--url", url, "--report", report, exit_code=2)
    assert refused.stderr == f"Error: --report: {report} cannot be written\n"
    with pgchroma.PostgresClient(url) as client:
        assert client.count_collections() == 0


def test_a_report_is_json_if_asked(run: Run, url: str, file: Path) -> None:
    result = run("import", file, "--url", url, "--nested", "json", "--json")
    report = json.loads(result.stdout)
    assert report["faithful"] is True
    assert report["collections"][0]["written"] == 2
    assert result.stderr == ""


def test_a_collection_that_exists_is_refused_skipped_or_replaced(
    run: Run, url: str, file: Path
) -> None:
    options = ("--url", url, "--nested", "json")
    run("import", file, *options)
    refused = run("import", file, *options, exit_code=2)
    assert "default_tenant/default_database/papers exists already; choose with" in refused.stderr
    assert "exists already, skipped" in run("import", file, *options, "--existing", "skip").stdout
    added = run("import", file, *options, "--existing", "add")
    assert "added to 2 existing records" in added.stdout
    unsure = run("import", file, *options, "--existing", "replace", exit_code=2)
    assert "pass --yes" in unsure.stderr
    run("import", file, *options, "--existing", "replace", "--yes")
    # What does not exist is not replaced, and needs no answer.
    run("import", file, *options, "--existing", "replace", "--as", "new")
    run("import", file, *options, "--as", "other", "--to-tenant", "acme", "--to-database", "lib")
    client = pgchroma.PostgresClient(url, tenant="acme", database="lib")
    assert [each.name for each in client.list_collections()] == ["other"]
    client.close()


def test_files_are_exported_and_imported_again(
    run: Run, url: str, file: Path, tmp_path: Path
) -> None:
    run("import", file, "--url", url, "--nested", "json")
    run("import", file, "--url", url, "--nested", "json", "--as", "second")
    directory = tmp_path / "files"
    result = run("export", directory, "--url", url, "--coordinates")
    assert len(result.stdout.splitlines()) == 2
    names = ["papers.parquet", "second.parquet"]
    assert sorted(path.name for path in directory.iterdir()) == names
    refused = run("export", directory, "--url", url, exit_code=2)
    assert "papers.parquet exists already; replace it with --yes" in refused.stderr
    run("export", directory, "--url", url, "--yes")
    one = tmp_path / "one.jsonl.gz"
    run("export", one, "--url", url, "--collection", "papers")
    several = run("export", tmp_path / "all.jsonl", "--url", url, exit_code=2)
    assert "is one file and no directory, and 2 collections are selected: " in several.stderr
    run("import", directory, "--url", url, "--to-database", "again")
    run("import", one, "--url", url, "--as", "unpacked")
    client = pgchroma.PostgresClient(url)
    wanted = client.get_collection("papers").get(include=["embeddings", "metadatas"])
    client.set_database("again")
    found = client.get_collection("second").get(include=["embeddings", "metadatas"])
    assert found["metadatas"] == wanted["metadatas"]
    client.close()


def test_a_tenant_with_any_name_is_exported_to_a_file(
    run: Run, url: str, file: Path, tmp_path: Path
) -> None:
    options = ("--url", url, "--nested", "json")
    run("import", file, *options)
    run("import", file, *options, "--to-tenant", "../a/b")
    run("export", tmp_path / "out", "--url", url, "--format", "jsonl")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "..%2Fa%2Fb.default_database.papers.jsonl",
        "default_tenant.default_database.papers.jsonl",
    ]


def test_a_copy_goes_over_http_and_back(run: Run, url: str, emptied: str, file: Path) -> None:
    run("import", file, "--url", url, "--nested", "json")
    run("copy", "--from", url, "--to", emptied, "--all", "--to-tenant", "acme")
    run(
        "copy", "--from-local", "--host", emptied, "--to", url, "--collections", "papers",
        "--tenant", "acme", "--as", "back", "--to-tenant", "default_tenant",
    )  # fmt: skip
    client = pgchroma.PostgresClient(url)
    names = [each.name for each in client.list_collections()]
    assert names == ["back", "papers"]
    include: Include = ["embeddings", "metadatas", "documents"]
    one, other = (client.get_collection(name).get(include=include) for name in names)
    assert one["metadatas"] == other["metadatas"]
    assert (one["embeddings"] == other["embeddings"]).all()  # type: ignore[union-attr]
    client.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "nowhere"), "there is no file or directory nowhere"),
        (("import", "ftp://example.com"), "a source is a path, or the URL of a server or of"),
        (("import", "http://u:sesame@"), "not the URL of a server"),
        (("import", ""), "SOURCE: it is empty"),
        (
            ("import", "{file}", "--collection", "nope"),
            "no collection is called 'nope'; there are",
        ),
        (("import", "{file}", "--as", "no"), "--as: Validation error: name: Expected a name"),
        (("import", "{no}"), "collection 'no' of the source: Validation error: name: Expected a"),
        (("import", "{file}", "--tenant", "acme"), "--tenant: 'acme' has no collections; there ar"),
        (("import", "{file}", "--database", "x"), "--database: 'x' has no collections; there are "),
        (("import", "{file}", "--report", "nowhere/r.json"), "there is no directory nowhere"),
        (("import", "{file}", "--column", "key=id"), "--column: expected ROLE=NAME with one of id"),
        (("import", "{file}", "--column", "id=key"), "has no column of ids"),
        (("import", "{empty}"), "has nothing to read: no data of Chroma or pgchroma, and no file"),
        (("import", "{file}", "--batch-size", "0"), "--batch-size"),
        (("export", "a.jsonl", "--coordinates"), "--coordinates needs the format parquet"),
        (("export", "a.jsonl", "--format", "parquet"), "--format parquet contradicts the name of"),
        (("export", "a.jsonl", "--collection", "nope"), "there are no collections in the source"),
    ],
)
def test_wrong_arguments_are_one_line(
    run: Run, url: str, file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    no = tmp_path / "no.jsonl"
    no.write_text(file.read_text())
    words = [word.format(file=file, empty=empty, no=no) for word in arguments]
    refused = run(*words, "--url", url, exit_code=2)
    if "id=key" not in words:
        assert message in refused.stderr
    assert "sesame" not in refused.output


def test_a_directory_of_chroma_without_its_database_is_one(
    run: Run, url: str, copy_of: Callable[[str], Path]
) -> None:
    directory = copy_of("1.5.9")
    (directory / "chroma.sqlite3").unlink()
    result = run("import", directory, "--url", url, exit_code=1)
    assert "/recovered-" in result.stdout
    warning, error = result.stderr.splitlines()
    assert "chroma.sqlite3 is missing or empty: documents, metadata and names are los" in warning
    assert "collections are not as in the source; may be wrong: " in error
    for index in directory.iterdir():
        shutil.rmtree(index)
    (directory / "chroma.sqlite3").touch()
    (error,) = run("import", directory, "--url", url, exit_code=2).stderr.splitlines()
    assert "there are no collections in the source, a data directory of Chroma: " in error
    assert "; chroma.sqlite3 is missing or empty" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --from, --from-local, --from-cloud"),
        (("--from", "a", "--from-cloud"), "give one of --from, --from-local, --from-cloud"),
        (("--from", "a"), "give one of --to, --to-local, --to-cloud"),
        (("--from", "a", "--to", "b"), "names of collections with --collections, or --all"),
        (("--from-local", "--to", "b", "--all"), "need one of --path and --host"),
        (("--from", "a", "--to-cloud", "--all"), "--to-cloud needs the name of a database"),
        (("--from", "a", "--to", "http:/x", "--all"), "--to: a URL that begins with http://"),
    ],
)
def test_wrong_arguments_of_copy_are_one_line(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    assert message in run("copy", *arguments, exit_code=2).stderr


def test_a_source_that_is_away_is_one_line(run: Run, url: str) -> None:
    result = run("import", "postgresql://app:sesame@127.0.0.1:1/app", "--url", url, exit_code=1)
    assert "app@127.0.0.1:1/app" in result.stderr
    assert "sesame" not in result.output


def test_the_key_of_the_target_is_not_sent_to_a_source(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[httpx.Headers] = []

    def handle(transport: object, request: httpx.Request) -> httpx.Response:
        sent.append(request.headers)
        return httpx.Response(404, json={"error": "NotFoundError", "message": "no"})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setenv("PGCHROMA_API_KEY", "key-of-the-target")
    run("import", "http://chroma.example", "--url", url, exit_code=2)
    monkeypatch.setenv("PGCHROMA_FROM_API_KEY", "key-of-the-source")
    run("import", "http://chroma.example", "--url", url, exit_code=2)
    text = str([headers.multi_items() for headers in sent])
    assert "key-of-the-target" not in text
    assert "key-of-the-source" in text


@pytest.mark.heavy
def test_a_directory_is_created_and_read(run: Run, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "data"
    run("import", file, "--path", path, "--nested", "json")
    run("import", path, "--path", path, "--as", "copied")
    run("import", path, "--path", tmp_path / "other", "--collection", "copied")
    client = pgchroma.PersistentClient(tmp_path / "other")
    assert client.get_collection("copied").count() == 2
    client.close()
