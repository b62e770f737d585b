"""What commands print: names that anybody may have chosen, and JSON."""

from __future__ import annotations

import json
from typing import Any

import click

__all__ = ("print_json", "printable")


def printable(text: str) -> str:
    """Replace what a terminal could take for a command; a tenant may be called anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2))
