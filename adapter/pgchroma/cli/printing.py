"""Print names, which users choose freely, and JSON."""

from __future__ import annotations

import json
from typing import Any

import click

__all__ = ("print_json", "printable")


def printable(text: str) -> str:
    """Replace control characters, which could control a terminal; a tenant's name may have them."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2))
