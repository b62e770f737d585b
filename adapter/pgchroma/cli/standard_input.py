"""Read a secret from standard input."""

from __future__ import annotations

import sys

import click

__all__ = ("read_secret",)


def read_secret(flag: str, limit: int) -> str:
    """Return standard input without the end of its line.

    Args:
        flag: The option that asks for it, for messages.
        limit: How many characters a secret may have. If there are more, the result is longer.

    Raises:
        click.UsageError: Standard input is closed, or is not a text.
    """
    if sys.stdin is None:
        raise click.UsageError(f"{flag}: standard input is closed")
    try:
        text = sys.stdin.read(limit + len("\r\n") + 1)
    except UnicodeDecodeError as error:
        message = f"{flag}: standard input is not a text in {error.encoding}"
        raise click.UsageError(message) from error
    return text.removesuffix("\n").removesuffix("\r")
