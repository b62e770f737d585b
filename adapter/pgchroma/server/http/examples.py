"""Examples of requests for the OpenAPI document.

They fit together: each works once the example that creates its collection was sent.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ("BODIES", "example_of")

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

_RECORD: Final[dict[str, Any]] = {
    "ids": ["a"],
    "embeddings": [[0.1, 0.2]],
    "documents": ["a text"],
    "metadatas": [{"year": 2024}],
}
_QUERY: Final[dict[str, Any]] = {
    "query_embeddings": [[0.1, 0.2]],
    "n_results": 3,
    "where_document": {"$contains": "text"},
    "include": ["documents", "distances"],
}

BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_tenant": {"name": "acme"},
    "update_tenant": {"resource_name": "default"},
    "create_database": {"name": "library"},
    "create_collection": {"name": "papers", "get_or_create": True},
    "update_collection": {"new_metadata": {"topic": "databases"}},
    "collection_add": _RECORD,
    "collection_upsert": _RECORD | {"documents": ["a changed text"]},
    "collection_update": {"ids": ["a"], "metadatas": [{"year": 2025}]},
    "collection_get": {"where": {"year": {"$gt": 2020}}, "limit": 10},
    "collection_query": _QUERY,
    "collection_explain": _QUERY,
    "collection_recall": {"sample": 10, "n_results": 3},
    "collection_delete": {"ids": ["a"]},
    "start_reembedding": {
        "embedding_function": {"type": "known", "name": "mine", "config": {}},
        "dimension": 2,
        "space": "cosine",
    },
    # The vector is [0.3, 0.4].
    "store_reembedded": {"generation": 1, "positions": [1], "embeddings": ["mpmZPs3MzD4="]},
    "compare_embeddings": {"generation": 1, "sample": 10, "n_results": 3},
    "switch_embeddings": {"generation": 1},
}
"""By operation id."""


def example_of(operation: str, parameter: str) -> Any:
    """Return an example of an operation's parameter, or `None`."""
    return _OTHER_PARAMETERS.get((operation, parameter), _PARAMETERS.get(parameter))
