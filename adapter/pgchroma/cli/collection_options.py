"""The options that name one of Chroma's databases, for commands on its collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT

__all__ = ("database_options", "tenant_option")

F = TypeVar("F", bound=Callable[..., Any])


def tenant_option(command: F) -> F:
    """Add ``--tenant``."""
    return click.option(
        "--tenant", default=DEFAULT_TENANT, show_default=True, help="The database's tenant."
    )(command)


def database_options(command: F) -> F:
    """Add ``--tenant`` and ``--database``."""
    option = click.option(
        "--database", default=DEFAULT_DATABASE, show_default=True, help="The tenant's database."
    )
    return tenant_option(option(command))
