"""The table of all routes."""

from __future__ import annotations

from typing import Any

from pgchroma.model.operations import Operation
from pgchroma.wire.collections import COLLECTION_ROUTES
from pgchroma.wire.indexing import INDEXING_ROUTES
from pgchroma.wire.reads import READ_ROUTES
from pgchroma.wire.reembedding import REEMBEDDING_ROUTES
from pgchroma.wire.route import Route
from pgchroma.wire.search import SEARCH_ROUTES
from pgchroma.wire.searches import SEARCHES_ROUTES
from pgchroma.wire.system import SYSTEM_ROUTES
from pgchroma.wire.tenants import TENANT_ROUTES
from pgchroma.wire.view import VIEW_ROUTES
from pgchroma.wire.writes import WRITE_ROUTES

__all__ = ("ROUTES", "route_of")

ROUTES: tuple[Route[Any, Any], ...] = (
    *SYSTEM_ROUTES,
    *TENANT_ROUTES,
    *COLLECTION_ROUTES,
    *WRITE_ROUTES,
    *READ_ROUTES,
    *SEARCH_ROUTES,
    *SEARCHES_ROUTES,
    *INDEXING_ROUTES,
    *VIEW_ROUTES,
    *REEMBEDDING_ROUTES,
)

_BY_OPERATION = {route.operation: route for route in ROUTES}


def route_of(operation: Operation[Any]) -> Route[Any, Any]:
    """Return an operation's route."""
    return _BY_OPERATION[type(operation)]
