"""Hints for users who know the command lines of other programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

import click

__all__ = ("meant_command", "refuse_url", "takes_database", "without_password")

_OTHER_NAMES: Final = {
    "run": ("launch", "listen", "serve", "server", "start", "up"),
    "psql": ("console", "query", "shell", "sql"),
    "postgres": ("pg", "postgresql", "serve-postgres"),
    "migrate": ("init", "install", "setup", "upgrade"),
    "compact": ("index", "reindex", "vacuum"),
    "db": ("database", "databases"),
    "doctor": ("check", "diagnose", "health", "verify"),
    "tenants": ("tenant",),
    "keys": ("token", "tokens"),
}

_COMMANDS: Final = {name: command for command, names in _OTHER_NAMES.items() for name in names}

_DATABASE: Final = re.compile(
    r"(jdbc:)?postgres(ql)?(\+\w+)?://|(host|hostaddr|dbname|service)\s*=", re.IGNORECASE
)
_LOGIN: Final = re.compile(r"(?<=://)\S*@")
_PASSWORD: Final = re.compile(r"(?<=password=)('[^']*'|[^\s)']+)", re.IGNORECASE)

_URL_HINT: Final = "pass the URL of a database with --url or in PGCHROMA_URL"


def meant_command(name: str, commands: Collection[str]) -> str | None:
    """Return a hint for a command that is not among `commands`, or `None`."""
    if _DATABASE.match(name):
        return f"{_URL_HINT}, after a command"
    command = _COMMANDS.get(name.lower())
    if command not in commands:
        command = next(iter(get_close_matches(name, commands, n=1)), None)
    return command and f"No such command {name!r}. Did you mean {command!r}?"


def refuse_url(values: Iterable[object]) -> None:
    """Raise if a positional argument of a command is a database's URL, which none may be.

    Raises:
        click.UsageError: An argument is a URL.
    """
    for value in values:
        if isinstance(value, tuple):
            refuse_url(value)
        elif _DATABASE.match(str(value)):
            raise click.UsageError(f"{_URL_HINT}, not as an argument")


def takes_database(error: click.UsageError) -> bool:
    """Whether the command of a usage error takes a database."""
    parameters = error.ctx.command.params if error.ctx else []
    return any(parameter.name == "url" for parameter in parameters)


def without_password(message: str) -> str:
    """Remove the userinfo of URLs, and passwords, from a message."""
    return _PASSWORD.sub("…", _LOGIN.sub("…@", message))
