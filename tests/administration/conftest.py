"""What these tests share: users of PostgreSQL, and the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgchroma

QUIET = pgchroma.Settings(allow_reset=True, pgchroma_compaction=False)
"""No index is built in the background."""


def command(
    *arguments: str, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``pgchroma`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "pgchroma", *arguments],
        capture_output=True,
        text=True,
        check=check,
        **options,
    )


@pytest.fixture
def make_user(url: str) -> Iterator[Callable[..., str]]:
    """Creates users who may log in and do nothing else; returns the URL of each."""
    made: list[sql.Identifier] = []

    def make(name: str, options: str = "") -> str:
        with psycopg.connect(url, autocommit=True) as plain:
            user = f"{name}_{plain.info.dbname}"
            text = f"create role {{}} login {options}"
            plain.execute(sql.SQL(text).format(sql.Identifier(user)))
        made.append(sql.Identifier(user))
        return make_conninfo(url, user=user)

    yield make
    with psycopg.connect(url, autocommit=True) as plain:
        for user in reversed(made):
            plain.execute(sql.SQL("reassign owned by {} to current_user").format(user))
            plain.execute(sql.SQL("drop owned by {}").format(user))
        for user in made:
            plain.execute(sql.SQL("drop role {}").format(user))


@pytest.fixture
def user(make_user: Callable[..., str]) -> str:
    """The URL of a user with no rights."""
    return make_user("App-1")
