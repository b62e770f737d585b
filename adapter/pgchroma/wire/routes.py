"""The table of all routes."""

from __future__ import annotations

from typing import Any

from pgchroma.model.operations import Operation
from pgchroma.wire.catalog import CATALOG_ROUTES
from pgchroma.wire.records import RECORD_ROUTES
from pgchroma.wire.reembedding import REEMBEDDING_ROUTES
from pgchroma.wire.route import Route

__all__ = ("ROUTES", "route_of")

ROUTES: tuple[Route[Any, Any], ...] = (*CATALOG_ROUTES, *RECORD_ROUTES, *REEMBEDDING_ROUTES)

_BY_OPERATION = {route.operation: route for route in ROUTES}


def route_of(operation: Operation[Any]) -> Route[Any, Any]:
    """Return the route an operation travels by."""
    return _BY_OPERATION[type(operation)]
