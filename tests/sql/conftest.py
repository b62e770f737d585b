"""Collections for the SQL functions, and a connection that calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import psycopg
import pytest

Rows: TypeAlias = list[tuple[Any, ...]]
Run: TypeAlias = Callable[..., Rows]


@pytest.fixture
def run(connection: psycopg.Connection[Any]) -> Run:
    """Runs a statement in the test's database, and returns its rows."""

    def execute(statement: str, *values: Any) -> Rows:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture(scope="module")
def module_connection(module_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the module's database."""
    with psycopg.connect(module_url, autocommit=True) as connection:
        yield connection
