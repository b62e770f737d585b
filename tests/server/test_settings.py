"""Where settings come from, and what wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pgchroma.cli import main
from pgchroma.server.settings import ServerSettings, load_settings


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return file

    return write


def test_flags_win_over_our_variables_over_chromas_over_the_file(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("port: 1\nlisten_address: ::1\nallow_reset: true\nworkers: 5\n")
    assert load_settings(file, {}).port == 1
    monkeypatch.setenv("CHROMA_PORT", "2")
    assert load_settings(file, {}).port == 2
    monkeypatch.setenv("PGCHROMA_PORT", "3")
    assert load_settings(file, {}).port == 3
    settings = load_settings(file, {"port": 4, "workers": None})
    assert (settings.port, settings.workers) == (4, 5)
    assert (settings.listen_address, settings.allow_reset) == ("::1", True)


def test_groups_are_merged_across_sources(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("open_telemetry:\n  endpoint: http://file:4318\n  service_name: from-file\n")
    monkeypatch.setenv("CHROMA_OPEN_TELEMETRY__ENDPOINT", "http://variable:4318")
    telemetry = load_settings(file, {}).open_telemetry
    assert telemetry is not None
    assert (telemetry.endpoint, telemetry.service_name) == ("http://variable:4318", "from-file")


def test_chromas_own_file_is_read(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(
        write(
            "port: 9000\nlisten_address: 0.0.0.0\nmax_payload_size_bytes: 1024\n"
            "persist_path: /data\nallow_reset: true\ncors_allow_origins: ['*']\n"
            "circuit_breaker:\n  requests: 7\n"
            "open_telemetry:\n  endpoint: http://otel:4318\n  service_name: chroma\n"
        ),
        {},
    )
    assert (settings.port, settings.listen_address) == (9000, "0.0.0.0")
    assert (settings.max_payload_size_bytes, settings.persist_path) == (1024, Path("/data"))
    assert (settings.allow_reset, settings.cors_allow_origins) == (True, ["*"])
    assert settings.circuit_breaker.requests == 7
    assert caplog.records == []


def test_unknown_keys_are_named_in_one_line(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    load_settings(
        write(
            "sqlite_filename: x\nprot: 1\ncircuit_breaker:\n  request: 1\n"
            "open_telemetry:\n  endpoint: http://otel\n  filters: []\n"
        ),
        {},
    )
    (record,) = caplog.records
    named = record.getMessage().rsplit(": ", 1)[1]
    assert named == "sqlite_filename, prot, circuit_breaker.request, open_telemetry.filters"


def test_an_empty_file_changes_nothing(write: Any) -> None:
    assert load_settings(write("# nothing\n"), {}) == ServerSettings()


def test_variables_of_chromas_clients_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_URL", "http://localhost:8000")
    monkeypatch.setenv("CHROMA_WORKERS", "many")
    assert load_settings(None, {}).url is None


@pytest.mark.parametrize(
    "text", ['["https://a.example", "https://b.example"]', "https://a.example, https://b.example"]
)
def test_lists_in_variables(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_CORS_ALLOW_ORIGINS", text)
    assert load_settings(None, {}).cors_allow_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: [", "config.yaml, line 1: expected the node content"),
        ("- port", "config.yaml: expected settings such as `port: 8000`"),
        ("just text", "config.yaml: expected settings such as `port: 8000`"),
        ("port: many", "port: Input should be a valid integer"),
        ("port: 70000", "port: Input should be less than or equal to 65535"),
        ("circuit_breaker:\n  requests: -1", "circuit_breaker.requests: Input should be"),
        ("circuit_breaker: 5", "circuit_breaker: Input should be"),
        ("open_telemetry:\n  service_name: x", "open_telemetry.endpoint: Field required"),
        ("open_telemetry:\n  endpoint: otel:4317", "open_telemetry.endpoint: String should match"),
        ("cors_allow_origins: '[x'", "cors_allow_origins: is not a list in JSON"),
        ("auth: false\nlisten_address: 0.0.0.0", "settings: without authentication the server"),
        ("port: 9000\nadmin_port: 9000", "settings: admin_port has to be another than port"),
        ("ssl_key: x", "settings: ssl_certificate and ssl_key go together"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, message: str, write: Any) -> None:
    result = CliRunner().invoke(main, ["run", str(write(text))])
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize("url", ["postgresql://u:sesame%zz@host/db", "host=h password='sesame"])
def test_a_malformed_url_is_not_repeated(url: str) -> None:
    result = CliRunner().invoke(main, ["run", "--url", url])
    assert result.exit_code == 1
    assert "url: is not a PostgreSQL URL" in result.output
    assert "sesame" not in result.output


def test_a_file_that_is_not_there() -> None:
    result = CliRunner().invoke(main, ["run", "/nowhere.yaml"])
    assert "Config file /nowhere.yaml does not exist" in result.output


@pytest.mark.parametrize("name", ServerSettings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    text = Path(__file__).parents[2].joinpath("docs", "server.md").read_text()
    assert f"`{name}`" in text
    assert f"        {name}: " in (ServerSettings.__doc__ or "")


def test_brackets_around_an_address_are_taken_off() -> None:
    settings = load_settings(None, {"listen_address": "[::1]", "auth": False})
    assert settings.listen_address == "::1"
