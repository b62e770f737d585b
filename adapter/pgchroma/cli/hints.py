"""Hints for users who know the command lines of other programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

import click

from pgchroma._version import DOCUMENTATION

__all__ = ("meant_command", "refuse_url", "similar_command", "takes_database", "without_password")

_OTHER_NAMES: Final = {
    "run": ("launch", "listen", "serve", "server", "start", "up"),
    "psql": ("console", "query", "shell", "sql"),
    "postgres": ("pg", "postgresql", "serve-postgres"),
    "migrate": ("init", "setup", "upgrade"),
    "compact": ("index", "optimize", "reindex"),
    "db": ("database", "databases"),
    "doctor": ("check", "diagnose", "health", "verify"),
    "tenants": ("tenant",),
    "keys": ("token", "tokens"),
    "collections": ("collection", "ls", "tables"),
    "stats": ("du", "info", "size", "stat", "statistics", "status"),
    "explain": ("analyze", "plan"),
    "browse": ("browser", "explore", "tui", "ui"),
    "install": ("example", "examples", "sample", "samples"),
    "login": ("auth", "connect", "signin"),
    "profile": ("config", "context", "profiles"),
    "completion": ("complete", "completions"),
}

_ANSWERS: Final = {
    "docs": f"The documentation is at {DOCUMENTATION}",
    "support": f"For help, see {DOCUMENTATION}/troubleshooting.md",
    "help": "Run `pgchroma --help`, or `pgchroma COMMAND --help`",
    "version": "Run `pgchroma --version`",
    "logout": "Run `pgchroma profile delete NAME`",
}
"""What other programs have a command for."""

_COMMANDS: Final = {name: command for command, names in _OTHER_NAMES.items() for name in names}

_DATABASE: Final = re.compile(
    r"(jdbc:)?postgres(ql)?(\+\w+)?://|(host|hostaddr|dbname|service)\s*=", re.IGNORECASE
)
_SERVER: Final = re.compile(r"https?://", re.IGNORECASE)
_LOGIN: Final = re.compile(r"(?<=://)\S*@")
_PASSWORD: Final = re.compile(r"(?<=password=)('[^']*'|[^\s)']+)", re.IGNORECASE)

_URL_HINT: Final = "pass the URL of a database or a server with --url or in PGCHROMA_URL"


def meant_command(name: str, commands: Collection[str]) -> str | None:
    """Return a hint for a command that is not among `commands`, or `None`."""
    if _DATABASE.match(name) or _SERVER.match(name):
        return f"{_URL_HINT}, after a command"
    if name.lower() in _ANSWERS:
        return f"No such command {name!r}. {_ANSWERS[name.lower()]}"
    command = _COMMANDS.get(name.lower())
    if command is None or command not in commands:
        return similar_command(name, commands)
    return _did_you_mean(name, command)


def similar_command(name: str, commands: Collection[str]) -> str | None:
    """Return a hint for a misspelt command, or `None` if none of `commands` is similar."""
    command = next(iter(get_close_matches(name, commands, n=1)), None)
    return command and _did_you_mean(name, command)


def _did_you_mean(name: str, command: str) -> str:
    return f"No such command {name!r}. Did you mean {command!r}?"


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
