"""A path that is not a directory name is refused, and its password is never shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgchroma
from pgchroma.backends._sync.embedded import persistent_backend
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.errors import InvalidArgumentError

from .conftest import rows

_NOT_PATHS = [
    "postgresql://app:secret@db/app",
    "POSTGRES://app:secret@db/app",
    "postgresql+psycopg://app:secret@db/app",
    "jdbc:postgresql://app:secret@db/app",
    " postgresql://app:secret@db/app",
    Path("postgresql://app:secret@db/app"),
    "http:/localhost:8000",
    "https://example.org",
    "s3://secret-bucket/data",
    "sqlite:///chroma.db",
    "file:///tmp/data",
    "memory://",
    ":memory:",
    "localhost:8000",
    Path("localhost:8000"),
    "127.0.0.1:8000",
    "[::1]:8000",
    "db.example.org:5432/app",
    "app:secret@db:5432/app",
    "app:secret@db/app",
    "host=db dbname=app password=secret",
    "",
    " ",
]


def _refusal(caught: pytest.ExceptionInfo[BaseException], directory: Path) -> str:
    said = str(caught.value)
    assert "secret" not in said
    assert len(said) < 400
    assert list(directory.iterdir()) == []
    return said


@pytest.mark.parametrize("place", _NOT_PATHS, ids=repr)
async def test_no_entry_takes_a_url_or_an_address_for_a_directory(
    place: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = pgchroma.Settings(is_persistent=True, persist_directory=str(place))
    for enter in (
        lambda: pgchroma.PersistentClient(place),
        lambda: EmbeddedPostgres.open(place),
        lambda: pgchroma.Client(settings),
        lambda: pgchroma.AdminClient(settings),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            enter()
        _refusal(caught, tmp_path)


@pytest.mark.parametrize("place", ["localhost:8000", "[::1]:8000", "s3://bucket/data", ":memory:"])
async def test_connect_refuses_what_is_neither_a_known_url_nor_a_directory(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError) as caught:
        pgchroma.connect(place)
    said = _refusal(caught, tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"directory"):
        await pgchroma.connect_async(place)
    if ":8000" in place:
        assert f"http://{place}" in said


def test_connect_takes_sqlalchemys_spelling_for_a_database(url: str) -> None:
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    parts = conninfo_to_dict(url)
    query = f"?host={parts['host']}&user={parts['user']}"
    with pgchroma.connect(f"postgresql+psycopg:///{parts['dbname']}{query}") as client:
        assert client.count_collections() == 0


@pytest.mark.parametrize("name", ["12:30:44", "user=bob", "data@home", "C:/data", "localhost"])
def test_a_directory_with_an_odd_name_is_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no database in"):
        EmbeddedPostgres.open(tmp_path / name, create=False)


def test_a_directory_called_like_an_address_is_taken_by_its_absolute_path(tmp_path: Path) -> None:
    with EmbeddedPostgres.open(tmp_path / "localhost:8000", durable=False):
        assert (tmp_path / "localhost:8000" / "postgres").is_dir()


def test_nothing_is_created_for_a_caller_who_wants_an_existing_database(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no database in"):
        persistent_backend(tmp_path / "data", pgchroma.Settings(), create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("chroma.sqlite3", "Chroma"),
        ("chroma-embeddings.parquet", "Chroma before 0.4"),
        ("articles.lance", "LanceDB"),
    ],
)
async def test_no_database_is_created_beside_the_data_of_another_product(
    name: str, product: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"theirs")
    settings = pgchroma.Settings(is_persistent=True, persist_directory=str(tmp_path))
    message = rf"data of {product} \({name}\).*docs/importing.md"
    for enter in (
        lambda: pgchroma.PersistentClient(tmp_path),
        lambda: pgchroma.connect(str(tmp_path)),
        lambda: pgchroma.Client(settings),
        lambda: EmbeddedPostgres.open(tmp_path),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            enter()
    with pytest.raises(InvalidArgumentError, match=message):
        await pgchroma.connect_async(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_server_refuses_a_directory_of_chroma(tmp_path: Path) -> None:
    (tmp_path / "chroma").mkdir()
    (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"theirs")
    command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--path"]
    done = subprocess.run(
        [*command, "chroma"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "docs/importing.md" in done.stderr
    assert [file.name for file in (tmp_path / "chroma").iterdir()] == ["chroma.sqlite3"]


def test_a_database_that_is_already_there_is_opened_beside_other_files(used: Path) -> None:
    (used / "chroma.sqlite3").write_bytes(b"theirs")
    with EmbeddedPostgres.open(used) as postgres:
        assert rows(postgres, "select 1") == [(1,)]
