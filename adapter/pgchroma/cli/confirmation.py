"""Ask before something that cannot be undone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pgchroma.cli.printing import is_terminal

__all__ = ("confirm", "yes_option")

F = TypeVar("F", bound=Callable[..., Any])


def yes_option(*names: str) -> Callable[[F], F]:
    """Return a decorator that adds ``--yes``, also under other names; it is passed as `is_sure`."""
    return click.option(
        "--yes", *names, "is_sure", is_flag=True, help="Do not ask for confirmation."
    )


def confirm(is_sure: bool, question: str) -> None:
    """Ask on a terminal unless the user is sure.

    Raises:
        click.Abort: The user does not want it.
        click.UsageError: There is no terminal to ask on.
    """
    if is_sure:
        return
    if not is_terminal(sys.stdin):
        raise click.UsageError(
            "this cannot be undone, and there is no terminal to ask on: pass --yes"
        )
    click.confirm(question, abort=True, err=True)
