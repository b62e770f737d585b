"""What goes wrong in a command, told to whoever typed it: one line, no traceback."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import click

from pgchroma.errors import ChromaError

__all__ = ("told",)


@contextmanager
def told() -> Generator[None, None, None]:
    """End the command with the message of an error of the product, or of a missing extra."""
    try:
        yield
    except ChromaError as fault:
        raise click.ClickException(fault.message()) from fault
    except ImportError as fault:
        raise click.ClickException(str(fault)) from fault
