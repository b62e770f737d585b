"""The contract once more, with each request in its tenant's role."""

# ruff: noqa: F403  (all tests are wanted, whatever their names)

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgchroma.embedded import EmbeddedPostgres
from tests.contract.test_collections import *
from tests.contract.test_databases import *
from tests.contract.test_query import *
from tests.contract.test_records import *
from tests.roles.conftest import APP, copied

pytestmark = pytest.mark.slow


@pytest.fixture
def url(server: EmbeddedPostgres, ordinary_template: str) -> Iterator[str]:
    """A database of an ordinary user's."""
    yield from copied(server, ordinary_template, APP)
