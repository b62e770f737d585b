"""`connect`: each kind of address, and addresses where nothing is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pgchroma
from pgchroma import errors


def test_a_url_of_postgresql_is_connected_to_directly(url: str, tmp_path: Path) -> None:
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    parts = conninfo_to_dict(url)
    place = f"postgresql:///{parts['dbname']}?host={parts['host']}&user={parts['user']}"
    with pgchroma.connect(place) as client:
        client.create_collection("here")
    with pgchroma.PostgresClient(url) as other:
        assert [collection.name for collection in other.list_collections()] == ["here"]


async def test_a_url_of_a_server_is_spoken_to_over_http(emptied: str) -> None:
    with pgchroma.connect(emptied, headers={"x-of-mine": "1"}) as client:
        client.create_collection("there")
    async with await pgchroma.connect_async(emptied) as other:
        assert await other.table_names() == ["there"]


async def test_anything_else_is_a_directory(tmp_path: Path) -> None:
    with pgchroma.connect(tmp_path / "data") as client:
        client.create_collection("kept")
        async with await pgchroma.connect_async(str(tmp_path / "data")) as other:
            assert await other.table_names() == ["kept"]
            await (await other.get_collection("kept")).add(ids="1", embeddings=[1.0])
        assert client.get_collection("kept").count() == 1
    with pytest.raises(errors.NotFoundError):
        await pgchroma.connect_async(tmp_path / "data", tenant="nobody")
    async with await pgchroma.connect_async(tmp_path / "data") as again:
        assert await (await again.get_collection("kept")).count() == 1


def test_without_a_place_the_settings_decide(tmp_path: Path) -> None:
    settings = pgchroma.Settings(is_persistent=True, persist_directory=str(tmp_path / "data"))
    for arguments in ((), (...,)):
        made: Any = pgchroma.connect(*arguments, settings=settings)
        with made as client:
            client.get_or_create_collection("by-settings")
            assert client.table_names() == ["by-settings"]


def test_an_address_without_a_server_is_reported() -> None:
    with pytest.raises(errors.UnavailableError):
        pgchroma.connect("postgresql://127.0.0.1:1/x")
    with pytest.raises(ValueError, match="Could not connect to a Chroma server"):
        pgchroma.connect("http://127.0.0.1:1")
