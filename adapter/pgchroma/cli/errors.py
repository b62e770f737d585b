"""Errors of commands: one line on standard error, no traceback.

The exit code is 2 if an argument or setting is wrong, 130 after Ctrl-C, and 1 otherwise.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import click

from pgchroma.cli.hints import takes_database, without_password
from pgchroma.cli.printing import printable
from pgchroma.errors import (
    ChromaError,
    InvalidArgumentError,
    InvalidDimensionException,
    NotFoundError,
    UniqueConstraintError,
)
from pgchroma.interrupted import INTERRUPTED

__all__ = ("CommandError", "exit_on_error", "one_line")


_LONG = re.compile(r"('[^']{80})[^']+'")

_EXTRA = "Got unexpected extra argument"

_USAGE_ERRORS = (
    InvalidArgumentError,
    InvalidDimensionException,
    NotFoundError,
    UniqueConstraintError,
)


class CommandError(click.ClickException):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """The exit code of the process."""
        return self._exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error."""
        click.echo(f"Error: {printable(' '.join(self.message.split()))}", file=file, err=True)


# Before click 8.2, a group called without a command shows its help and exits.
_SHOWS_HELP: type[click.ClickException] = getattr(
    click.exceptions, "NoArgsIsHelpError", CommandError
)


@contextmanager
def exit_on_error() -> Generator[None, None, None]:
    """Exit with the message if pgchroma raises an error or an extra is missing."""
    try:
        yield
    except ChromaError as error:
        code = 2 if isinstance(error, _USAGE_ERRORS) else 1
        raise CommandError(_with_flag(error.message()), code) from error
    except ImportError as error:
        raise CommandError(str(error)) from error


def _with_flag(message: str) -> str:
    """Prepend the flag to the message that its value does not exist."""
    context = click.get_current_context(silent=True)
    given = context.params if context else {}
    for name in ("tenant", "database", "collection"):
        value = given.get(name)
        if value is not None and message.startswith(f"{name.capitalize()} [{value}] not found"):
            return f"--{name}: {message}"
    return message


@contextmanager
def one_line() -> Generator[None, None, None]:
    """Omit the usage that click prints before an error about an argument.

    An interrupt prints nothing: the user pressed Ctrl-C. Neither does a pipe whose reader has
    ended, such as `head`.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(INTERRUPTED) from error
    except click.Abort as error:
        # A prompt raises the same error for an interrupt and for the end of its input.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise click.exceptions.Exit(INTERRUPTED) from error
        raise
    except (CommandError, _SHOWS_HELP):
        raise
    except click.ClickException as error:
        raise CommandError(_text(error), error.exit_code) from error
    except OSError as error:
        # click handles the pipe.
        if error.errno == errno.EPIPE:
            raise
        raise CommandError(_failed_call(error)) from error


def _failed_call(error: OSError) -> str:
    """Return the error of the system with the file; without one, output could not be written."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _text(error: click.ClickException) -> str:
    """Return click's message with the flag prepended and long values cut."""
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
