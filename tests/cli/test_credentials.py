"""``pgchroma keys`` and ``pgchroma users``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

import pgchroma
from pgchroma.backends._sync.connect import connect
from pgchroma.cli import main
from pgchroma.model.credentials import CredentialKind, FoundCredential
from pgchroma.model.hashes import Key, is_match
from pgchroma.model.operations.credentials import FindCredential
from tests.commands import runner

PASSWORD = "correct horse"
DEFAULT = ["--tenant", "default_tenant", "--database", "default_database"]

Run = Callable[..., Result]


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("PGCHROMA_PATH", raising=False)

    def run(*args: str, ok: bool = True, input: str | None = None, **env: str) -> Result:
        result = runner().invoke(main, args, input=input, env={"PGCHROMA_URL": url, **env})
        assert (result.exit_code == 0) == ok, result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def find(url: str) -> Callable[[CredentialKind, str], FoundCredential | None]:
    def find(kind: CredentialKind, handle: str) -> FoundCredential | None:
        backend = connect(url, pgchroma.Settings())
        try:
            return backend.execute(FindCredential(kind, handle))
        finally:
            backend.close()

    return find


def _json(run: Run, group: str, *args: str) -> list[dict[str, Any]]:
    return json.loads(run(group, "list", "--json", *args).stdout)  # type: ignore[no-any-return]


def test_a_key_is_made_and_only_the_key_is_on_stdout(run: Run, find: Any) -> None:
    made = run("keys", "create", "ci", "--role", "write", "--tenant", "default_tenant")
    key = Key.parse(made.stdout.strip())
    assert key is not None
    assert key.secret not in made.stderr
    assert "ci" in made.stderr
    assert "role write on tenant default_tenant" in made.stderr
    found = find("key", key.id)
    assert is_match(key.secret, found.secret_hash)
    assert (found.credential.role, found.credential.scope.tenant) == ("write", "default_tenant")


def test_a_key_is_generated_without_a_database(run: Run) -> None:
    assert Key.parse(run("keys", "generate", PGCHROMA_URL="").stdout.strip()) is not None


def test_a_scope_may_go_down_to_a_collection(run: Run, url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("papers")
    run("keys", "create", "ci", "--role", "read", *DEFAULT, "--collection", "papers")
    (listed,) = _json(run, "keys")
    assert listed["tenant"] == "default_tenant"
    assert listed["database"] == "default_database"
    assert listed["collection"] == "papers"
    assert listed["state"] == "live"


def test_keys_are_listed_and_revoked(run: Run) -> None:
    for name in ("two", "one"):
        run("keys", "create", name, "--role", "read")
    assert [key["name"] for key in _json(run, "keys")] == ["one", "two"]
    table = run("keys", "list").stdout
    assert "one" in table
    assert "the whole installation" in table
    assert run("keys", "revoke", "one").stdout.startswith("revoked key one (")
    run("keys", "revoke", _json(run, "keys")[0]["id"])
    assert _json(run, "keys") == []
    assert [key["state"] for key in _json(run, "keys", "--all")] == ["revoked", "revoked"]
    assert "revoked" in run("keys", "list", "--all").stdout
    assert "nope to revoke" in run("keys", "revoke", "nope", ok=False).stderr


@pytest.mark.heavy
def test_users_have_a_password_from_a_prompt_or_from_stdin(run: Run, find: Any) -> None:
    made = run("users", "create", "jane", "--role", "admin", input=f"{PASSWORD}\n{PASSWORD}\n")
    assert PASSWORD not in made.output
    for name, line in (("joe", f"{PASSWORD}\n"), ("jim", PASSWORD), ("jill", f"{PASSWORD}\r\n")):
        run("users", "create", name, "--role", "read", "--password-stdin", input=line)
    for name in ("jane", "joe", "jim", "jill"):
        assert is_match(PASSWORD, find("user", name).secret_hash)
    assert [user["name"] for user in _json(run, "users")] == ["jane", "jill", "jim", "joe"]
    assert _json(run, "keys") == []
    run("users", "revoke", "joe")
    assert "no key with" in run("keys", "revoke", "jane", ok=False).stderr
    assert find("user", "joe") is None


@pytest.mark.parametrize(
    ("password", "message"),
    [("short", "8 to 1024"), ("x" * 1025, "8 to 1024"), (Key.generate().text, "form of a key")],
    ids=["short", "long", "key"],
)
def test_bad_passwords_are_refused(run: Run, password: str, message: str) -> None:
    refused = run(
        "users", "create", "jane", "--role", "read", "--password-stdin", input=password, ok=False
    )
    assert message in refused.stderr
    assert password not in refused.output


@pytest.mark.parametrize(
    ("given", "days"), [("30d", 30), ("48h", 2), ("2w", 14), ("in-ten-days", 10)]
)
def test_a_key_may_expire(run: Run, given: str, days: int) -> None:
    day = (datetime.now(UTC) + timedelta(days=days)).date()
    expires = str(day) if given == "in-ten-days" else given
    run("keys", "create", "ci", "--role", "read", "--expires", expires)
    (listed,) = _json(run, "keys")
    assert abs(datetime.fromisoformat(listed["expires_at"]).date() - day) <= timedelta(days=1)
    assert f"{day:%Y-%m}" in run("keys", "list").stdout


@pytest.mark.parametrize(
    "expires", ["", "soon", "30", "-1d", "0d", "2020-01-01", "999999w", "9999999d", "2027-02-30"]
)
def test_a_bad_expiry_is_refused(run: Run, expires: str) -> None:
    refused = run("keys", "create", "ci", "--role", "read", "--expires", expires, ok=False)
    assert "--expires" in refused.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tenant", "nope"], "Tenant [nope] not found"),
        (["--tenant", "default_tenant", "--database", "nope"], "Database [nope] not found"),
        ([*DEFAULT, "--collection", "nope"], "Collection [nope] not found"),
        (["--database", "default_database"], "--database needs --tenant"),
        (["--tenant", "default_tenant", "--collection", "x"], "--collection needs --database"),
        (["--role", "owner"], "owner"),
        (["--url", "postgresql://nobody@127.0.0.1:1/x"], "cannot be reached"),
        (["--path", "somewhere", "--url", "somewhere"], "exclude each other"),
    ],
)
def test_what_cannot_be_is_told(run: Run, args: list[str], message: str) -> None:
    refused = run("keys", "create", "ci", "--role", "read", *args, ok=False)
    assert message in refused.stderr
    assert refused.stdout == ""


def test_names_are_checked_and_unique(run: Run) -> None:
    assert "expected a name" in run("keys", "create", "a b", "--role", "read", ok=False).stderr
    run("keys", "create", "ci", "--role", "read")
    assert "ci is taken" in run("keys", "create", "ci", "--role", "read", ok=False).stderr
    taken = run(
        "users", "create", "ci", "--role", "read", "--password-stdin", input=PASSWORD, ok=False
    )
    assert "ci is taken" in taken.stderr


def test_a_database_that_is_not_named_is_asked_for(run: Run) -> None:
    refused = runner().invoke(main, ["keys", "list"], env={"PGCHROMA_URL": None})
    assert "no database given" in refused.stderr


def test_a_database_without_a_catalog_is_left_alone(run: Run, empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create extension vector")
    refused = run("keys", "list", "--url", empty_url, ok=False)
    assert "pgchroma migrate" in refused.stderr
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("select to_regnamespace('pgchroma')").fetchone() == (None,)


def test_a_table_commands_no_terminal(run: Run, connection: psycopg.Connection[Any]) -> None:
    tenant = "[red]\x1b[2Jodd"
    connection.execute("insert into pgchroma.tenants values (%s)", [tenant])
    run("keys", "create", "ci", "--role", "read", "--tenant", tenant)
    shown = run("keys", "list").stdout
    assert "\x1b" not in shown
    assert "[red]" in shown
    assert _json(run, "keys")[0]["tenant"] == tenant


@pytest.mark.heavy
def test_a_directory_has_keys_too(
    new_path: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Options of the command line win over the environment.
    monkeypatch.setenv("PGCHROMA_URL", "postgresql://nobody@127.0.0.1:1/x")
    command = [sys.executable, "-m", "pgchroma", "keys"]
    directory = new_path()
    pgchroma.PersistentClient(directory).close()
    path = ["--path", str(directory)]
    made = subprocess.run(
        [*command, "create", "ci", "--role", "admin", *path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = Key.parse(made.stdout.strip())
    assert key is not None
    listed = subprocess.run(
        [*command, "list", "--json", *path], capture_output=True, text=True, check=True
    )
    assert [entry["id"] for entry in json.loads(listed.stdout)] == [key.id]


def test_rich_is_loaded_only_to_print_a_table() -> None:
    script = "import sys, pgchroma.cli; sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (("keys", "create", "ci", "--role", "read", "--tenant", "nope"), "--tenant: Tenant [nope]"),
        (
            ("keys", "create", "ci", "--role", "read", *DEFAULT[:3], "nope"),
            "--database: Database [nope]",
        ),
        (
            ("keys", "create", "ci", "--role", "read", *DEFAULT, "--collection", "nope"),
            "--collection: Collection [nope]",
        ),
        (("db", "list", "--tenant", "nope"), "--tenant: Tenant [nope]"),
        (("db", "create", "shop", "--tenant", "nope"), "--tenant: Tenant [nope]"),
        (("grants", "reader", "pgchroma", "--tenant", "nope"), "--tenant: "),
        (("grants", "reader", "pgchroma", *DEFAULT[:3], "nope"), "--database: Database [nope]"),
    ],
)
def test_what_does_not_exist_is_named_with_its_flag(
    run: Run, command: tuple[str, ...], flag: str
) -> None:
    assert run(*command, ok=False).stderr.startswith(f"Error: {flag}")
