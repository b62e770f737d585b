"""``pgchroma login``, ``pgchroma profile`` and which source of a database takes precedence."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import Result
from psycopg.conninfo import make_conninfo

from pgchroma.cli import main
from pgchroma.cli.profiles import Profile, changed_profiles, read_profiles
from tests.commands import runner

Run = Callable[..., Result]

NOWHERE = "postgresql://app:sesame@127.0.0.1:1/app"


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the profiles, which does not exist yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    for name in ("URL", "URL_FILE", "PATH", "PERSIST_PATH", "PROFILE", "API_KEY", "API_KEY_FILE"):
        monkeypatch.delenv(f"PGCHROMA_{name}", raising=False)
    return tmp_path / "configuration" / "pgchroma" / "profiles.toml"


@pytest.fixture
def run(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args: str | Path, code: int = 0, input: str | None = None, **env: str) -> Result:
        result = runner().invoke(main, [str(each) for each in args], input=input, env=env)
        assert result.exit_code == code, result.output
        if code:
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "sesame" not in result.output
        return result

    return run


def test_a_login_is_checked_and_stored_for_its_owner_only(
    run: Run, url: str, configuration: Path
) -> None:
    with_password = make_conninfo(url, password="sesame")
    said = run("login", "work", "--url", with_password).stdout
    assert said.startswith("stored profile work: ")
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert stat.S_IMODE(configuration.parent.stat().st_mode) == 0o700
    assert [file.name for file in configuration.parent.iterdir()] == ["profiles.toml"]
    assert run("db", "list").stdout == "default_database\n"
    shown = json.loads(run("profile", "show", "--json").stdout)
    assert (shown["name"], shown["has_secret"], shown["is_current"]) == ("work", True, True)
    assert "has secret: yes" in run("profile", "show", "work").stdout


def test_what_cannot_be_reached_is_not_stored(
    run: Run, configuration: Path, tmp_path: Path
) -> None:
    run("login", "--url", NOWHERE, code=1)
    run("login", "--path", tmp_path, code=2)
    run("login", code=2)
    assert "the name of a profile" in run("login", "a b", "--url", NOWHERE, code=2).stderr
    run("login", NOWHERE, code=2)
    assert not configuration.exists()


@pytest.mark.parametrize(
    ("options", "input", "message"),
    [
        (("--url", "postgresql://app:sesame@db/app"), "x\n", "already contains a password"),
        (("--url", "http://app:sesame@db"), "x\n", "already contains a password"),
        (("--url", "http://db.example"), "", "expected one line on standard input"),
        (("--url", "http://db.example"), "a\nb\n", "expected one line on standard input"),
        (("--path", "."), "x\n", "a directory has no password"),
    ],
)
def test_a_wrong_token_is_refused(
    run: Run, options: tuple[str, ...], input: str, message: str
) -> None:
    assert message in run("login", *options, "--token-stdin", input=input, code=2).stderr


def test_a_password_is_taken_from_standard_input(run: Run, url: str, configuration: Path) -> None:
    run("login", "--url", url, "--token-stdin", input="sesame\n")
    assert "sesame" in configuration.read_text()
    assert run("db", "list").stdout == "default_database\n"


def test_a_flag_comes_before_a_variable_and_this_before_the_profile_in_use(
    run: Run, url: str, tmp_path: Path
) -> None:
    for name in ("good", "other"):
        run("login", name, "--url", url)
    with changed_profiles() as stored:
        stored.profiles["bad"] = Profile(NOWHERE)
        stored.current = "bad"
    run("db", "list", code=1)
    run("db", "list", PGCHROMA_PROFILE="good")
    run("db", "list", PGCHROMA_PROFILE="good", PGCHROMA_PATH=str(tmp_path))
    run("db", "list", PGCHROMA_PROFILE="bad", PGCHROMA_URL=url)
    run("db", "list", "--profile", "good", PGCHROMA_URL=NOWHERE)
    run("--profile", "good", "db", "list", PGCHROMA_URL=NOWHERE)
    run("db", "list", "--url", url, PGCHROMA_PROFILE="bad")
    refused = run("db", "list", "--profile", "good", "--url", url, code=2)
    assert "--url and --profile exclude each other" in refused.stderr
    unknown = "there is no profile none; stored are: bad, good, other"
    assert f"--profile: {unknown}" in run("db", "list", "--profile", "none", code=2).stderr
    assert (
        f"PGCHROMA_PROFILE: {unknown}" in run("db", "list", PGCHROMA_PROFILE="none", code=2).stderr
    )


def test_a_profile_of_another_database_is_replaced_only_by_someone_who_is_sure(
    run: Run, url: str
) -> None:
    with changed_profiles() as stored:
        stored.profiles["work"] = Profile(NOWHERE)
    assert "pass --yes" in run("login", "work", "--url", url, code=2).stderr
    assert read_profiles().profiles["work"].url == NOWHERE
    run("login", "work", "--url", url, "--yes")
    run("login", "work", "--url", url)


def test_a_profile_in_use_that_is_missing_is_named(run: Run) -> None:
    with changed_profiles() as stored:
        stored.current = "gone"
    assert "profile in use: there is no profile gone" in run("db", "list", code=2).stderr
    assert "there is no profile gone" in run("profile", "show", code=2).stderr
    run("login", code=2)


def test_errors_name_the_profile(run: Run, url: str) -> None:
    with changed_profiles() as stored:
        stored.profiles["bad"] = Profile(make_conninfo(url, dbname="nowhere", password="sesame"))
        stored.profiles["web"] = Profile("http://db.example")
    assert "--profile bad: " in run("db", "list", "--profile", "bad", code=2).stderr
    assert (
        "PGCHROMA_PROFILE web: http:// begins"
        in run("migrate", PGCHROMA_PROFILE="web", code=2).stderr
    )


def test_each_kind_of_profile_is_shown(run: Run, tmp_path: Path) -> None:
    with changed_profiles() as stored:
        stored.profiles = {
            "directory": Profile(path=str(tmp_path)),
            "server": Profile("https://app:sesame@db.example/x/"),
            "database": Profile("postgresql://app@db.example/app", secret="sesame"),
            "damaged": Profile("postgresql://app:sesame%zz@db/app"),
        }
    listed = json.loads(run("profile", "list", "--json").stdout)
    assert {
        each["name"]: (each["kind"], each["address"], each["has_secret"]) for each in listed
    } == {
        "directory": ("directory", str(tmp_path), False),
        "server": ("server", "https://db.example/x", True),
        "database": ("database", "app@db.example/app", True),
        "damaged": ("database", "not a valid URL", False),
    }
    assert "there is no database in" in run("db", "list", "--profile", "directory", code=2).stderr


def test_profiles_are_listed_chosen_and_deleted(run: Run, url: str) -> None:
    assert run("profile", "list", "--json").stdout == "[]\n"
    run("profile", "show", code=2)
    run("login", "one", "--url", url)
    assert "in use is one" in run("login", "two", "--url", url).stdout
    run("login", "three", "--url", url, "--use")
    listed = json.loads(run("profile", "list", "--json").stdout)
    assert [(each["name"], each["is_current"]) for each in listed] == [
        ("one", False), ("three", True), ("two", False),
    ]  # fmt: skip
    run("profile", "use", "one")
    assert "* one" in " ".join(run("profile", "list").stdout.split())
    assert "there is no profile four" in run("profile", "use", "four", code=2).stderr
    assert "pass --yes" in run("profile", "delete", "one", code=2).stderr
    run("profile", "delete", "one", "--yes")
    assert "no database given" in run("db", "list", code=2).stderr
    run("profile", "delete", "one", "--yes", code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("current = ", "Invalid value"),
        ("currant = 'x'", "unknown field `currant`"),
        ("[profiles.x]\nurl = 3", "$.profiles"),
        ("[profiles.x]", "expected a url or a path"),
        ("\udcff", "it is not UTF-8"),
    ],
)
def test_a_damaged_file_is_refused_and_kept(
    run: Run, configuration: Path, url: str, content: str, message: str
) -> None:
    configuration.parent.mkdir(parents=True)
    configuration.touch(0o600)
    before = content.encode(errors="surrogateescape")
    configuration.write_bytes(before)
    for command in (("db", "list"), ("profile", "list"), ("login", "--url", url)):
        refused = run(*command, code=2).stderr
        assert str(configuration) in refused
        assert message in refused
    assert configuration.read_bytes() == before


def test_a_file_that_others_can_read_is_refused(run: Run, url: str, configuration: Path) -> None:
    run("login", "--url", url)
    configuration.chmod(0o640)
    assert f"run chmod 600 {configuration}" in run("db", "list", code=2).stderr
    run("db", "list", "--url", url)


@pytest.mark.usefixtures("configuration")
def test_concurrent_changes_are_all_kept() -> None:
    def store(number: int) -> None:
        with changed_profiles() as stored:
            stored.profiles[f"p{number}"] = Profile(path=f"/data/{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, range(40)))
    assert len(read_profiles().profiles) == 40


@pytest.mark.usefixtures("configuration")
def test_a_failure_leaves_the_file_as_it_was() -> None:
    with changed_profiles() as stored:
        stored.profiles["one"] = Profile(path="/data")
    with pytest.raises(RuntimeError), changed_profiles() as stored:
        stored.profiles.clear()
        raise RuntimeError
    assert list(read_profiles().profiles) == ["one"]
