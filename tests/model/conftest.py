"""The PostgreSQL that decides what a translated pattern matches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgchroma.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def regex_connection(server: EmbeddedPostgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection to match texts over; nothing is ever stored."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        yield connection
