"""Examples of parameters for the OpenAPI document; those of bodies stand with their routes."""

from __future__ import annotations

from typing import Any, Final

__all__ = ("example_of",)

_PARAMETERS: Final[dict[str, Any]] = {
    "tenant": "default_tenant",
    "database": "default_database",
    "collection": "papers",
    "crn": "default:default_database:papers",
    "generation": 1,
}
"""Examples for paths and query strings, by the routes' parameter names."""

_OTHER_PARAMETERS: Final = {
    # The database that `create_database` creates, never the default database.
    ("delete_database", "database"): "library",
}


def example_of(operation: str, parameter: str) -> Any:
    """Return an example of an operation's parameter, or `None`."""
    return _OTHER_PARAMETERS.get((operation, parameter), _PARAMETERS.get(parameter))
