"""Clients whose collections get indexes only when a test builds them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import pgchroma
from tests.planner.segments import quiet


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A direct client with one connection."""
    with quiet(url, pgchroma_pool_size=1) as direct:
        yield direct
