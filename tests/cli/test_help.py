"""The help, options before the verb, completion, `update` and `install`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from pgchroma._version import __version__
from pgchroma.cli import main
from pgchroma.cli.groups import SECTIONS
from tests.commands import runner

Run = Callable[..., Result]

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_JSON = {
    ("browse",),
    ("completion",),
    ("postgres",),
    ("psql",),
    ("run",),
}


def _leaves(
    group: click.Group = main, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*names, name))
        else:
            yield (*names, name), command


LEAVES = dict(_leaves())


def _run(*args: str, code: int = 0, **env: str | None) -> Result:
    result = runner().invoke(main, args, env=env)
    assert result.exit_code == code, result.output
    if code:
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result


def test_the_help_lists_every_command_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert main.commands.keys() <= set(listed)
    for arguments in ((), ("--help",), ("-h",)):
        result = runner().invoke(main, arguments)
        text = result.stdout or result.output
        for title in SECTIONS:
            assert f"\n{title}:\n" in text
        for name in main.commands:
            listed_as = re.search(rf"^  {name} .*", text, re.MULTILINE)
            assert listed_as is not None, name
            assert not listed_as[0].endswith("..."), name


@pytest.mark.parametrize("names", LEAVES, ids=" ".join)
def test_every_command_has_help(names: tuple[str, ...]) -> None:
    assert f"Usage: {' '.join(('main', *names))}" in _run(*names, "--help").output


@pytest.mark.parametrize("names", LEAVES, ids=" ".join)
def test_json_is_accepted_before_and_after_the_verb(names: tuple[str, ...], url: str) -> None:
    flags = {option for each in LEAVES[names].params for option in each.opts}
    assert ("--json" in flags) == (names not in WITHOUT_JSON)
    if names in WITHOUT_JSON:
        refused = _run("--json", *names, "x", code=2, PGCHROMA_URL=url)
        assert f"--json has no effect on {names[-1]}" in refused.stderr


def test_options_before_the_verb_are_those_after_it(url: str) -> None:
    before = _run("--json", "db", "list", PGCHROMA_URL=url).stdout
    after = _run("db", "list", "--json", PGCHROMA_URL=url).stdout
    assert before == after
    assert json.loads(before)[0]["name"] == "default_database"
    assert _run("--json", "db", "list", "--json", PGCHROMA_URL=url).stdout == before
    refused = _run("--profile", "work", "update", code=2)
    assert "--profile has no effect on update" in refused.stderr
    assert "Did you mean" in _run("--json", "db", "lst", code=2).stderr


BEFORE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("tenants", "delete"): ("tenants", "create", "acme"),
    ("db", "connect"): ("db", "create", "docs"),
    ("db", "delete"): ("db", "create", "docs"),
    ("keys", "revoke"): ("keys", "create", "ci", "--role", "read"),
}
"""What a command needs; the tests run in any order, and in several processes."""


@pytest.mark.parametrize(
    ("names", "arguments"),
    [
        (("migrate",), ()),
        (("compact",), ()),
        (("adopt",), ()),
        (("grants",), ("reader", "pgchroma")),
        (("tenants", "create"), ("acme",)),
        (("tenants", "list"), ()),
        (("tenants", "delete"), ("acme", "--yes")),
        (("db", "create"), ("docs",)),
        (("db", "connect"), ("docs",)),
        (("db", "delete"), ("docs", "--yes")),
        (("keys", "create"), ("ci", "--role", "read")),
        (("keys", "revoke"), ("ci",)),
        (("keys", "generate"), ()),
        (("users", "list"), ()),
        (("stats",), ()),
        (("vacuum",), ("--yes",)),
        (("update",), ()),
        (("install",), ()),
    ],
    ids=" ".join,
)
def test_json_is_all_that_a_command_prints(
    names: tuple[str, ...], arguments: tuple[str, ...], url: str
) -> None:
    if names in BEFORE:
        _run(*BEFORE[names], PGCHROMA_URL=url)
    result = _run("--json", *names, *arguments, PGCHROMA_URL=url)
    assert json.loads(result.stdout) is not None
    assert result.stderr.strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_completes_commands(shell: str) -> None:
    script = _run("completion", shell).stdout
    assert "_PGCHROMA_COMPLETE" in script
    program = shutil.which(shell)
    if program is not None:
        command = [program, "-n"]
        checked = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
    _run("completion", "tcsh", code=2)


@pytest.mark.parametrize(
    ("arguments", "incomplete", "expected"),
    [
        ([], "coll", ["collections"]),
        (["collections"], "re", ["rename"]),
        (["keys", "create", "--role"], "", ["read", "write", "admin"]),
        (["db", "list"], "--pro", ["--profile"]),
    ],
)
def test_completions(arguments: list[str], incomplete: str, expected: list[str]) -> None:
    completing = ShellComplete(main, {}, "pgchroma", "_PGCHROMA_COMPLETE")
    found = completing.get_completions(arguments, incomplete)
    assert [each.value for each in found] == expected


def test_update_tells_the_command() -> None:
    said = _run("update").stdout
    assert f"pgchroma {__version__} is installed" in said
    assert "-m pip install --upgrade " in said
    assert "pgchroma migrate" in said


def test_other_programs_commands_are_answered() -> None:
    assert "docs" in _run("docs", code=2).stderr
    assert "pgchroma --help" in _run("help", code=2).stderr
    assert "pgchroma --version" in _run("version", code=2).stderr


def test_every_command_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for names in LEAVES:
        assert f"`pgchroma {' '.join(names)}" in text, names
