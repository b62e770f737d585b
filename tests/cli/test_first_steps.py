"""Typical first mistakes: the names of other programs' commands, a URL in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from pgchroma.cli import main
from tests.commands import runner

URL = "postgresql://app:ses@me@db.example/app"
PLACES = [URL, "postgres://app:sesame@db/app", "host=db password=sesame", "jdbc:postgresql://db/x"]

FILLING = {"kind": "reader", "shell": "bash"}
"""Arguments for parameters that do not accept any text."""


def _commands(group: click.Group = main, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*names, name))
        else:
            yield (*names, name)


def _command(names: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for name in names:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def _refused(*arguments: str) -> str:
    result = runner().invoke(main, arguments, env={"PGCHROMA_URL": None, "PGCHROMA_PATH": None})
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


ELSEWHERE = [
    ("completion",),
    ("copy",),
    ("install",),
    ("keys", "generate"),
    ("login",),
    ("profile", "delete"),
    ("profile", "list"),
    ("profile", "show"),
    ("profile", "use"),
    ("update",),
]
"""Commands that do not connect to the database of the flags, or, as `login`, to no other;
`copy` takes two."""

COMMANDS = [names for names in _commands() if names not in ELSEWHERE]


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_takes_a_database_in_the_same_way(names: tuple[str, ...]) -> None:
    options = {option for each in _command(names).params for option in each.opts}
    assert {"--url", "--path"} <= options
    assert "--profile" in options or names == ("run",)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_a_url_without_its_flag_is_refused_with_the_flag(
    names: tuple[str, ...], place: str
) -> None:
    command = _command(names)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    needed = [FILLING.get(str(each.name), "somebody") for each in arguments if each.required]
    roles = ["--role", "read"] if any(each.name == "role" for each in command.params) else []
    for given in ([*needed, place], [*needed[:-1], place]):
        said = _refused(*names, *given, *roles)
        assert "--url" in said
        assert "sesame" not in said
        assert "ses@me" not in said


def test_a_url_or_a_directory_is_no_configuration_file(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("data")
    assert f"{path} is a directory: give it with --path" in _refused("run", str(path))
    assert "does not exist" in _refused("run", str(path / "nothing"))


@pytest.mark.parametrize("names", [("compact",), ("migrate",), ("db", "list")], ids=" ".join)
def test_a_directory_without_its_flag_is_refused_with_the_flag(names: tuple[str, ...]) -> None:
    assert "a directory with --path" in _refused(*names, "./data")


def test_a_url_in_place_of_a_command_shows_nothing_of_its_login() -> None:
    said = _refused(URL)
    assert "with --url or in PGCHROMA_URL, after a command" in said
    assert "ses@me" not in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("serve", "run"),
        ("start", "run"),
        ("server", "run"),
        ("Serve", "run"),
        ("shell", "psql"),
        ("sql", "psql"),
        ("databases", "db"),
        ("init", "migrate"),
        ("upgrade", "migrate"),
        ("tenant", "tenants"),
        ("user", "users"),
        ("compct", "compact"),
    ],
)
def test_another_name_leads_to_the_command(typed: str, meant: str) -> None:
    assert f"No such command {typed!r}. Did you mean {meant!r}?" in _refused(typed)


def test_no_other_name_hides_a_command() -> None:
    from pgchroma.cli.hints import _COMMANDS  # noqa: PLC0415

    assert set(_COMMANDS.values()) <= main.commands.keys()
    assert not _COMMANDS.keys() & main.commands.keys()
