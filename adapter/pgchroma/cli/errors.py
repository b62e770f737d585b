"""Errors of commands: one line on standard error, no traceback.

The exit code is 2 where what was given is wrong, 130 after Ctrl-C, and 1 otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import click

from pgchroma.cli.hints import meant_command, takes_database, without_password
from pgchroma.errors import (
    ChromaError,
    InvalidArgumentError,
    NotFoundError,
    UniqueConstraintError,
)
from pgchroma.interrupted import INTERRUPTED

__all__ = ("CommandError", "Commands", "exit_on_error", "one_line")


_LONG = re.compile(r"('[^']{80})[^']+'")

_EXTRA = "Got unexpected extra argument"

_OF_WHAT_WAS_GIVEN = (InvalidArgumentError, NotFoundError, UniqueConstraintError)


class CommandError(click.ClickException):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """What the process ends with."""
        return self._exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line."""
        click.echo(f"Error: {' '.join(self.message.split())}", file=file, err=True)


# Before click 8.2, a group that was called without a command shows its help and exits.
_SHOWS_HELP: type[click.ClickException] = getattr(
    click.exceptions, "NoArgsIsHelpError", CommandError
)


class Commands(click.Group):
    """A group of commands that reports each error in one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        with one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with one_line():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        if self.get_command(ctx, args[0]) is None:
            hint = meant_command(args[0], self.list_commands(ctx))
            if hint is not None:
                ctx.fail(hint)
        return super().resolve_command(ctx, args)


@contextmanager
def exit_on_error() -> Generator[None, None, None]:
    """End the command with the message of an error of pgchroma's, or of a missing extra."""
    try:
        yield
    except ChromaError as error:
        code = 2 if isinstance(error, _OF_WHAT_WAS_GIVEN) else 1
        raise CommandError(_with_flag(error.message()), code) from error
    except ImportError as error:
        raise CommandError(str(error)) from error


def _with_flag(message: str) -> str:
    """Put the flag in front of the message that what it names does not exist."""
    context = click.get_current_context(silent=True)
    given = context.params if context else {}
    for name in ("tenant", "database", "collection"):
        value = given.get(name)
        if value is not None and message.startswith(f"{name.capitalize()} [{value}] not found"):
            return f"--{name}: {message}"
    return message


@contextmanager
def one_line() -> Generator[None, None, None]:
    """Leave out the usage that click writes before the error of an argument.

    Of an interrupt nothing is written: whoever pressed Ctrl-C knows.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(INTERRUPTED) from error
    except click.Abort as error:
        # A prompt makes the same of an interrupt and of the end of its input.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise click.exceptions.Exit(INTERRUPTED) from error
        raise
    except (CommandError, _SHOWS_HELP):
        raise
    except click.ClickException as error:
        raise CommandError(_text(error), error.exit_code) from error


def _text(error: click.ClickException) -> str:
    """Return click's message with the flag in front, and values that are long cut."""
    return _LONG.sub(r"\1…'", without_password(_message(error)))


def _message(error: click.ClickException) -> str:
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_flag(error.param)}: {error.message}" if error.message else error.format_message()
    message = error.format_message()
    if message.startswith(_EXTRA) and isinstance(error, click.UsageError) and takes_database(error):
        return f"{message}. A database is given with --url, a directory with --path"
    return message


def _flag(parameter: click.Parameter) -> str:
    """Return the parameter as it is written on the command line."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name
