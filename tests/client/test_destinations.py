"""Chroma's settings that decide where data goes: applied or refused, never ignored."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgchroma
from pgchroma import Settings
from pgchroma.destinations import DistributedSettings
from pgchroma.variables import WITHOUT_EFFECT

CHROMAS_PYTHON = Path(__file__).parents[2] / ".venv" / "clients" / "bin" / "python"
FASTAPI = "chromadb.api.fastapi.FastAPI"
IDLE_SECONDS = {"chroma_server_host": "h", "chroma_server_http_port": "8000"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"chroma_api_impl": "rest", **IDLE_SECONDS}, "HttpClient(host='h', port=8000)"),
        ({"chroma_api_impl": "rest"}, "HttpClient(host='localhost', port=8000)"),
        ({"chroma_api_impl": "local", "persist_directory": "./db"}, "PersistentClient('./db')"),
        ({"chroma_api_impl": "chromadb.api.local.LocalAPI"}, "EphemeralClient()"),
        ({"chroma_api_impl": "mine.Api", **IDLE_SECONDS}, "HttpClient(host='h', port=8000)"),
        (
            {"chroma_db_impl": "duckdb+parquet", "persist_directory": "./db"},
            "PersistentClient('./db')",
        ),
        ({"chroma_db_impl": "duckdb"}, "EphemeralClient()"),
        ({"chroma_db_impl": "clickhouse", "clickhouse_host": "h"}, "PostgresClient(url)"),
        (IDLE_SECONDS, "HttpClient(host='h', port=8000)"),
        ({"chroma_server_host": "https://u:sesame@h"}, "HttpClient(host='https://h', port=8000)"),
        ({"chroma_server_http_port": 9000}, "HttpClient(host='localhost', port=9000)"),
        ({**IDLE_SECONDS, "is_persistent": True}, "HttpClient(host='h', port=8000)"),
        ({"persist_directory": "./db"}, "PersistentClient('./db')"),
        ({"persist_directory": "./db", "is_persistent": False}, "PersistentClient('./db')"),
        (
            {"chroma_api_impl": FASTAPI, "chroma_server_api_default_path": "/api/v1"},
            "below /api/v2",
        ),
    ],
)
@pytest.mark.parametrize("make", [pgchroma.Client, pgchroma.AdminClient])
def test_what_would_go_elsewhere_is_refused(
    make: Callable[..., Any], settings: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"not supported|has no effect") as caught:
        make(Settings(**settings))
    assert advice in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DistributedSettings.model_fields)
@pytest.mark.parametrize("from_variable", [False, True])
def test_there_is_no_distributed_chroma(
    name: str, from_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if from_variable:
        monkeypatch.setenv(name.upper(), "1")
    given: dict[str, Any] = {} if from_variable else {name: "1"}
    for make in (pgchroma.Client, pgchroma.EphemeralClient, pgchroma.AdminClient):
        with pytest.raises(ValueError, match=f"{name}='1' is .*not supported.*HttpClient"):
            make(Settings(**given))


@pytest.mark.parametrize(
    "variables",
    [
        {"CHROMA_API_IMPL": "rest"},
        {"CHROMA_SERVER_HOST": "h"},
        {"CHROMA_SERVER_HTTP_PORT": "8000"},
        {"PERSIST_DIRECTORY": "./db"},
        {"CHROMA_DB_IMPL": "duckdb+parquet"},
    ],
)
def test_variables_are_refused_too(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for make in (pgchroma.Client, pgchroma.AdminClient):
        with pytest.raises(ValueError, match=r"HttpClient\(|PersistentClient\("):
            make()
    tmp_path.joinpath(".env").write_text(f"{'='.join(*variables.items())}\n")
    monkeypatch.delenv(next(iter(variables)))
    with pytest.raises(ValueError, match=r"HttpClient\(|PersistentClient\("):
        pgchroma.Client()


@pytest.mark.parametrize(
    "settings",
    [
        {"chroma_api_impl": FASTAPI, **IDLE_SECONDS},
        {"chroma_server_host": "h"},
        {"persist_directory": "./other"},
        {"chroma_db_impl": "duckdb+parquet"},
    ],
)
@pytest.mark.parametrize("kind", ["persistent", "ephemeral", "postgres", "connect"])
async def test_a_clients_own_place_and_settings_agree(
    kind: str, settings: dict[str, Any], url: str, tmp_path: Path
) -> None:
    makers: dict[str, Callable[[Settings], Any]] = {
        "persistent": lambda settings: pgchroma.PersistentClient("./data", settings),
        "ephemeral": pgchroma.EphemeralClient,
        "postgres": lambda settings: pgchroma.PostgresClient(url, settings),
        "connect": lambda settings: pgchroma.connect("./data", settings=settings),
    }
    with pytest.raises(ValueError, match=r"has no effect on|not supported"):
        makers[kind](Settings(**settings))
    with pytest.raises(ValueError, match=r"has no effect on|not supported"):
        await pgchroma.AsyncPostgresClient(url, Settings(**settings))
    with pytest.raises(ValueError, match=r"has no effect on|not supported"):
        await pgchroma.connect_async("./data", settings=Settings(**settings))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [pgchroma.EphemeralClient, pgchroma.PostgresClient])
def test_persistence_is_not_promised_where_there_is_none(
    make: Callable[..., Any], url: str
) -> None:
    with pytest.raises(ValueError, match=r"is_persistent=True has no effect"):
        make(**({"url": url} if make is pgchroma.PostgresClient else {}),
             settings=Settings(is_persistent=True))  # fmt: skip


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CHROMA_SERVER_HOST", "h")
    monkeypatch.setenv("CHROMA_API_IMPL", FASTAPI)
    monkeypatch.setenv("PERSIST_DIRECTORY", "./other")
    monkeypatch.setenv("IS_PERSISTENT", "true")
    with pgchroma.PostgresClient(url) as client:
        assert client.heartbeat()
    with pgchroma.EphemeralClient() as client:
        assert client.heartbeat()


def test_what_agrees_is_taken(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(is_persistent=True, persist_directory="./data")
    with pgchroma.PersistentClient(data, settings) as client, pgchroma.Client(settings) as other:
        client.create_collection("here")
        assert [each.name for each in other.list_collections()] == ["here"]
    assert data.is_dir()


@pytest.mark.heavy
def test_every_setting_of_chromas_is_followed_refused_or_known_to_have_no_effect() -> None:
    if not CHROMAS_PYTHON.exists():
        pytest.skip("`make clients` installs Chroma's client")
    script = "import json, chromadb.config as c; print(json.dumps(list(c.Settings.model_fields)))"
    listed = subprocess.run(
        [CHROMAS_PYTHON, "-c", script], capture_output=True, check=True, text=True
    )
    harmless = {"environment", "migrations_hash_algorithm", "worker_memberlist_name"}
    known = {*Settings.model_fields, *WITHOUT_EFFECT, *harmless}
    assert set(json.loads(listed.stdout)) - known == set()
