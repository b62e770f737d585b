"""The sources of settings, and their precedence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgchroma.cli import main
from pgchroma.config import Settings
from pgchroma.model.hashes import Key
from pgchroma.server.loading import CHROMA_WITHOUT_EFFECT, load_settings
from pgchroma.server.settings import GROUPS, ServerSettings
from pgchroma.variables import SERVER_SETTINGS
from tests.commands import runner


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return file

    return write


def settings_of(file: Path | None, flags: dict[str, Any]) -> ServerSettings:
    return load_settings(file, flags).settings


def refused(file: Path | None = None, **flags: Any) -> str:
    with pytest.raises(ValueError) as caught:
        load_settings(file, flags)
    (line,) = str(caught.value).splitlines()
    return line


def test_flags_win_over_our_variables_over_chromas_over_the_file(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("port: 1\nlisten_address: ::1\nallow_reset: true\nworkers: 5\n")
    assert settings_of(file, {}).port == 1
    monkeypatch.setenv("CHROMA_PORT", "2")
    assert settings_of(file, {}).port == 2
    monkeypatch.setenv("PGCHROMA_PORT", "3")
    assert settings_of(file, {}).port == 3
    settings = settings_of(file, {"port": 4, "workers": None})
    assert (settings.port, settings.workers) == (4, 5)
    assert (settings.listen_address, settings.allow_reset) == ("::1", True)


def test_groups_are_merged_across_sources(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("open_telemetry:\n  endpoint: http://file:4318\n  service_name: from-file\n")
    monkeypatch.setenv("CHROMA_OPEN_TELEMETRY__ENDPOINT", "http://variable:4318")
    telemetry = settings_of(file, {}).open_telemetry
    assert telemetry is not None
    assert (telemetry.endpoint, telemetry.service_name) == ("http://variable:4318", "from-file")


def test_chromas_own_file_is_read(write: Any) -> None:
    loaded = load_settings(
        write(
            "port: 9000\nlisten_address: 0.0.0.0\nmax_payload_size_bytes: 1024\n"
            "persist_path: /data\nallow_reset: true\ncors_allow_origins: ['*']\n"
            "circuit_breaker:\n  requests: 7\n"
            "open_telemetry:\n  endpoint: http://otel:4318\n  service_name: chroma\n"
        ),
        {},
    )
    settings = loaded.settings
    assert (settings.port, settings.listen_address) == (9000, "0.0.0.0")
    assert (settings.max_payload_size_bytes, settings.persist_path) == (1024, Path("/data"))
    assert (settings.allow_reset, settings.cors_allow_origins) == (True, ["*"])
    assert settings.circuit_breaker.requests == 7
    assert loaded.notices == ()


def test_what_of_chromas_has_no_effect_is_named_in_a_line(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SERVER_AUTHN_PROVIDER", "SERVER_HOST", "SQLITE_FILENAME", "TENANT", "API_KEY"):
        monkeypatch.setenv(f"CHROMA_{name}", "x")
    monkeypatch.setenv("CHROMA_SQLITEDB__MIGRATION_MODE", "apply")
    monkeypatch.setenv("PERSIST_DIRECTORY", "/data")
    names = sorted(CHROMA_WITHOUT_EFFECT - {"open_telemetry.filters"})
    text = "".join(f"{name}: []\n" for name in names)
    file = write(f"{text}open_telemetry:\n  endpoint: http://otel\n  filters: []\n")
    variables, keys = load_settings(file, {}).notices
    assert variables.rpartition(": ")[2].split(", ") == [
        "CHROMA_SERVER_AUTHN_PROVIDER", "CHROMA_SERVER_HOST", "CHROMA_SQLITEDB__MIGRATION_MODE",
        "CHROMA_SQLITE_FILENAME", "PERSIST_DIRECTORY",
    ]  # fmt: skip
    assert set(keys.rpartition(": ")[2].split(", ")) == CHROMA_WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("role_per_tennant: true", "role_per_tennant (did you mean role_per_tenant?)"),
        ("prot: 1\nqwertz: 2", "prot (did you mean port?); qwertz"),
        ("circuit_breaker:\n  request: 1", "did you mean circuit_breaker.requests?"),
        ("open_telemetry:\n  endpoint: http://x\n  nmae: x", "open_telemetry.nmae"),
        ("1: 2", "unknown setting: 1"),
        ("host: x", "host (did you mean listen_address?)"),
        ("no_auth: true", "no_auth (did you mean auth?)"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused(write: Any, text: str, found: str) -> None:
    assert found in refused(write(text))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PGCHROMA_ROLE_PER_TENNANT", "did you mean PGCHROMA_ROLE_PER_TENANT?"),
        ("pgchroma_prot", "PGCHROMA_PROT (did you mean PGCHROMA_PORT?)"),
        ("PGCHROMA_CIRCUIT_BREAKER__REQUEST", "did you mean PGCHROMA_CIRCUIT_BREAKER__REQUESTS?"),
        ("PGCHROMA_URL_FIEL", "did you mean PGCHROMA_URL_FILE?"),
        ("PGCHROMA_HOST", "did you mean PGCHROMA_LISTEN_ADDRESS?"),
        ("PGCHROMA_QWERTZ", "unknown variable in the environment: PGCHROMA_QWERTZ"),
    ],
)
def test_an_unknown_variable_is_refused(
    name: str, found: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "true")
    assert found in refused()
    with pytest.raises(ValueError, match="unknown variable"):
        Settings()
    monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"{name}=true\n")
    with pytest.raises(ValueError, match="unknown variable"):
        Settings()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pgchroma_role_per_tennant", r"did you mean pgchroma_role_per_tenant\?"),
        ("pgchroma_qwertz", "unknown setting pgchroma_qwertz"),
        ("persist_dir", r"did you mean persist_directory\?"),
        ("chroma_server_hots", r"did you mean chroma_server_host\?"),
    ],
)
def test_an_unknown_argument_of_a_client_is_refused(name: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Settings(**{name: "x"})  # type: ignore[arg-type]


def test_arguments_that_chroma_knows_or_passes_over_are_taken() -> None:
    Settings(chroma_server_nofile=1, anonymized_telemetry=False, environment="x", anything=1)  # type: ignore[call-arg]


def test_every_variable_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {f"{group}__{name}" for group in GROUPS for name in GROUPS[group].model_fields}
    assert {*ServerSettings.model_fields, *groups} == SERVER_SETTINGS


def test_what_kubernetes_sets_for_a_service_of_this_name_is_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "PGCHROMA_PORT": "tcp://10.0.0.1:8000",
        "CHROMA_PORT": "tcp://10.0.0.2:8000",
        "PGCHROMA_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PGCHROMA_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PGCHROMA_SERVICE_HOST": "10.0.0.1",
        "PGCHROMA_SERVICE_PORT": "8000",
        "PGCHROMA_SERVICE_PORT_HTTP": "8000",
        "PGCHROMA_ADMIN_PORT": "tcp://10.0.0.1:9000",
        "PGCHROMA_ADMIN_SERVICE_HOST": "10.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    assert settings_of(None, {}) == ServerSettings()
    Settings()


def test_where_the_data_is_is_decided_by_one_source(
    write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def place(file: Path | None = None, **flags: Any) -> tuple[str | None, Path]:
        settings = settings_of(file, flags)
        url = settings.url and settings.url.get_secret_value()
        return url or None, settings.persist_path

    here, default = tmp_path / "here", Path("./chroma")
    file = write("url: postgresql://file/x\n")
    assert place(file) == ("postgresql://file/x", default)
    monkeypatch.setenv("CHROMA_PERSIST_PATH", str(here))
    assert place(file) == (None, here)
    monkeypatch.setenv("PGCHROMA_URL", "postgresql://variable/x")
    assert place(file) == ("postgresql://variable/x", default)
    assert place(file, persist_path=str(here)) == (None, here)
    assert place(file, url="postgresql://flag/x") == ("postgresql://flag/x", default)
    monkeypatch.setenv("PGCHROMA_PATH", "/an/images/default")
    assert place() == ("postgresql://variable/x", default)
    assert place(persist_path=str(here)) == (None, here)
    monkeypatch.delenv("PGCHROMA_URL")
    assert place(file) == (None, Path("/an/images/default"))
    assert place(url="postgresql://flag/x") == ("postgresql://flag/x", default)


def test_what_excludes_each_other(
    write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "--url and --path exclude each other" in refused(url="postgresql://h", persist_path="x")
    file = write("url: postgresql://h\npersist_path: x\n")
    assert f"{file}: url and persist_path exclude each other" in refused(file)
    monkeypatch.setenv("PGCHROMA_URL", "postgresql://h")
    monkeypatch.setenv("PGCHROMA_URL_FILE", str(tmp_path / "x"))
    assert "PGCHROMA_URL and PGCHROMA_URL_FILE exclude each other" in refused()
    monkeypatch.delenv("PGCHROMA_URL")
    assert "cannot be read: No such file" in refused()
    monkeypatch.delenv("PGCHROMA_URL_FILE")
    monkeypatch.setenv("CHROMA_SEGMENT_MANAGER__PERSIST_PATH", "/data")
    assert "CHROMA_SEGMENT_MANAGER__PERSIST_PATH: is not supported: data is stored in" in refused()
    monkeypatch.delenv("CHROMA_SEGMENT_MANAGER__PERSIST_PATH")
    monkeypatch.setenv("PGCHROMA_PATH", "a")
    monkeypatch.setenv("PGCHROMA_PERSIST_PATH", "b")
    assert "PGCHROMA_PATH and PGCHROMA_PERSIST_PATH differ" in refused()


def test_secrets_may_be_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.generate().text
    for name, text in {
        "URL": "postgresql://u:p@h/d",
        "COMPACTION_URL": "postgresql://u:p@direct/d",
        "ADMIN_KEY": key,
    }.items():
        file = tmp_path / name
        file.write_text(f"{text}\n")
        monkeypatch.setenv(f"PGCHROMA_{name}_FILE", str(file))
    settings = settings_of(None, {})
    assert settings.url is not None
    assert settings.url.get_secret_value() == "postgresql://u:p@h/d"
    assert settings.compaction_url is not None
    assert settings.compaction_url.get_secret_value() == "postgresql://u:p@direct/d"
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == key
    (tmp_path / "ADMIN_KEY").write_text("sesame")
    assert refused().startswith("PGCHROMA_ADMIN_KEY_FILE: expected a key")


def test_an_empty_file_changes_nothing(write: Any) -> None:
    assert settings_of(write("# nothing\n"), {}) == ServerSettings()


def test_variables_of_chromas_clients_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_URL", "http://localhost:8000")
    monkeypatch.setenv("CHROMA_WORKERS", "many")
    assert settings_of(None, {}).url is None


@pytest.mark.parametrize(
    "text", ['["https://a.example", "https://b.example"]', "https://a.example, https://b.example"]
)
def test_lists_in_variables(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_CORS_ALLOW_ORIGINS", text)
    assert settings_of(None, {}).cors_allow_origins == ["https://a.example", "https://b.example"]


def test_the_former_name_of_permissive_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCHROMA_ROLE_PER_TENANT", "unsealed")
    assert Settings().pgchroma_role_per_tenant == "permissive"
    assert load_settings(None, {}).settings.role_per_tenant == "permissive"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: [", "config.yaml, line 1: expected the node content"),
        ("- port", "config.yaml: expected settings such as `port: 8000`"),
        ("just text", "config.yaml: expected settings such as `port: 8000`"),
        ("port: many", "port: many in {file}: expected a whole number from 0 to 65535"),
        ("port: 70000", "port: 70000 in {file}: expected a whole number from 0 to 65535"),
        ("port: yes", "port: True in {file}: expected a whole number"),
        ("auth: maybe", "auth in {file}: expected true or false"),
        ("role_per_tenant: maybe", "expected true, false or permissive"),
        ("request_timeout: .inf", "request_timeout: inf in {file}: expected a number above 0"),
        ("request_timeout: .nan", "request_timeout: nan in {file}: expected a number above 0"),
        ("drain_timeout: 1.0e+300", "drain_timeout: 1e+300 in {file}: expected a number from 0 to"),
        (
            "circuit_breaker:\n  requests: -1",
            "circuit_breaker.requests: -1 in {file}: expected a w",
        ),
        ("circuit_breaker: 5", "circuit_breaker: 5 in {file}: expected settings such as"),
        ("open_telemetry:\n  service_name: x", "open_telemetry.endpoint: is missing"),
        ("open_telemetry:\n  endpoint: otel:4317", "expected an address such as http://localhost"),
        ("cors_allow_origins: '[x'", "is not a list in JSON"),
        ("auth: false\nlisten_address: 0.0.0.0", "listen_address: 0.0.0.0 in {file}: without auth"),
        ("port: 9000\nadmin_port: 9000", "admin_port must differ from port"),
        ("ssl_key: /etc/hostname", "ssl_certificate and ssl_key must be set together"),
        ("persist_path: postgresql://u:sesame@h/d", "persist_path in {file}: a URL that begins"),
        ("sqlitedb:\n  url: x", "sqlitedb.url in {file}: is not supported: data is stored in"),
        ("segment_manager:\n  persist_path: x", "segment_manager.persist_path in {file}: is not"),
        ("url: ''", "url in {file}: is empty"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_a_line(text: str, message: str, write: Any) -> None:
    result = runner().invoke(main, ["run", str(file := write(text))])
    assert result.exit_code == 2
    assert message.format(file=file) in result.output
    assert "sesame" not in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port 70000: expected a whole number from 0 to 65535"),
        (["--port", "-1"], "--port -1: expected a whole number from 0 to 65535"),
        (["--port", "http"], "--port http: expected a whole number from 0 to 65535"),
        (["--port", ""], "--port '': expected a whole number from 0 to 65535"),
        (["--port", "9" * 5000], "--port 9999"),
        (["--port"], "Option '--port' requires an argument"),
        (["--workers", "0"], "--workers 0: expected a whole number from 1 to 1024"),
        (["--workers", "1.5"], "--workers 1.5: expected a whole number from 1 to 1024"),
        (["--admin-port", "x"], "--admin-port x: expected a whole number from 0 to 65535"),
        (["--port", "9000", "--admin-port", "9000"], "--admin-port 9000: admin_port must differ"),
        (["--log-format", "xml"], "--log-format xml: expected json or text"),
        (["--log-level", "loud"], "--log-level loud: expected debug, info, warning or error"),
        (["--no-auth", "--host", "0.0.0.0"], "--host 0.0.0.0: without authentication"),
        (["--ssl-key", "/nowhere"], "--ssl-key /nowhere: expected a file (PEM)"),
        (
            ["--ssl-key", "/etc/hostname"],
            "--ssl-key /etc/hostname: ssl_certificate and ssl_key must",
        ),
        (["--path", "/etc/hostname"], "--path /etc/hostname: expected a directory"),
        (["--path", "postgresql://u:sesame@h/d"], "--path: a URL that begins with postgresql://"),
        (["--path", "localhost:8000"], "--path: "),
        (["--path", ""], "--path: the path is empty"),
        (["--path", "x", "--url", "postgresql://h"], "--url and --path exclude each other"),
        (["--url", ""], "--url: is empty"),
        (["--url", "postgresql+psycopg2://u:sesame@h/d"], "--url: pgchroma connects through psyco"),
        (["--url", "http://localhost:8000"], "--url: http:// begins the URL of a server"),
        (["--prot", "1"], "No such option '--prot'"),
        (["--" + "x" * 5000], "No such option '--xxx"),
        (["nowhere.yaml"], "Config file nowhere.yaml does not exist"),
        (["/etc"], "Config file /etc is a directory: give it with --path"),
        (["a.yaml", "b.yaml"], "unexpected extra argument"),
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_wrong_on_the_command_line_is_said_in_a_line(
    arguments: list[str], message: str, form: str
) -> None:
    environment = {"PGCHROMA_LOG_FORMAT": form}
    result = runner().invoke(main, ["run", *arguments], env=environment)
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    if form == "json" and "--log-format" not in arguments:
        found = json.loads(line)
        assert (found["level"], found["logger"]) == ("ERROR", "pgchroma.server")
        line = found["message"]
    assert message in line
    assert len(line) < 400
    assert "sesame" not in line


@pytest.mark.parametrize("variable", ["PGCHROMA_PORT", "CHROMA_PORT"])
def test_what_is_wrong_in_a_variable_names_it(variable: str) -> None:
    result = runner().invoke(main, ["run"], env={variable: "many"})
    assert result.exit_code == 2
    assert result.output == (f"Error: {variable}=many: expected a whole number from 0 to 65535\n")


@pytest.mark.parametrize("url", ["postgresql://u:sesame%zz@host/db", "host=h password='sesame"])
def test_a_malformed_url_is_not_repeated(url: str) -> None:
    result = runner().invoke(main, ["run", "--url", url])
    assert result.exit_code == 2
    assert "url: is not a PostgreSQL URL" in result.output
    assert "sesame" not in result.output


def test_a_file_that_is_not_there() -> None:
    result = runner().invoke(main, ["run", "/nowhere.yaml"])
    assert "Config file /nowhere.yaml does not exist" in result.output


@pytest.mark.parametrize("name", ServerSettings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    text = Path(__file__).parents[2].joinpath("docs", "server.md").read_text()
    assert f"`{name}`" in text
    assert f"        {name}: " in (ServerSettings.__doc__ or "")


def test_brackets_around_an_address_are_taken_off() -> None:
    settings = settings_of(None, {"listen_address": "[::1]", "auth": False})
    assert settings.listen_address == "::1"
