"""Print names, which users choose freely, sizes, tables and JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, TypeVar

import click

__all__ = (
    "is_terminal",
    "json_option",
    "print_json",
    "print_table",
    "printable",
    "replace_unencodable",
    "size_text",
    "time_text",
)

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_MAX_WIDTH = 100_000


def json_option(command: F) -> F:
    """Add ``--json``, which is passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def is_terminal(*streams: TextIO | None) -> bool:
    """Whether all streams are a terminal; a stream that was closed before the start is `None`."""
    return all(stream is not None and stream.isatty() for stream in streams)


def replace_unencodable() -> None:
    """Print characters that the output's encoding does not have as escapes.

    Names have any characters, and terminals and logs are not always UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Replace control characters, which could control a terminal; a tenant's name may have them."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON; times and ids become texts."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below the names of their columns; `None` is an empty cell, numbers go right.

    No cell is cut: on a terminal, long ones go on in the next line.
    """
    # Importing rich would take half of a command's startup time.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    cells = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False)
    for position, column in enumerate(columns):
        is_number = any(isinstance(row[position], int | float) for row in cells)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        table.add_row(*(printable(_cell(value)) for value in row))
    # Other programs read one line for each row.
    width = None if is_terminal(sys.stdout) else _MAX_WIDTH
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def size_text(size: int) -> str:
    """Return a number of bytes in the unit that people read."""
    value, unit = float(size), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{size} bytes" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def time_text(time: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
