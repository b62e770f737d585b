"""Clients and collections after unpickling, which opens their connections."""

from __future__ import annotations

import atexit
from threading import Lock
from typing import TYPE_CHECKING

from pgchroma.client._sync.backends import backend_of
from pgchroma.client._sync.embedder import Embedder
from pgchroma.client.origin import Origin
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.model.entities import CollectionModel

if TYPE_CHECKING:
    from pgchroma.backends._sync.base import Backend
    from pgchroma.client._sync.client import Client
    from pgchroma.client._sync.collection import Collection

__all__ = ("reopened_client", "reopened_collection")

_backends: dict[Origin, Backend] = {}
_lock = Lock()


def reopened_client(origin: Origin, tenant: str, database: str) -> Client:
    """Return a client that was pickled."""
    from pgchroma.client._sync.client import Client  # noqa: PLC0415  (it imports this module)

    return Client(backend_of(origin), origin.settings(), tenant, database, origin)


def reopened_collection(origin: Origin, model: CollectionModel, has_function: bool) -> Collection:
    """Return a collection that was pickled. Collections of one origin share their connections."""
    from pgchroma.client._sync.collection import Collection  # noqa: PLC0415

    with _lock:
        if origin not in _backends:
            _backends[origin] = backend_of(origin)
            atexit.register(_backends[origin].close)
    embedder = Embedder(
        DefaultEmbeddingFunction() if has_function else None,
        persisted=model.configuration.embedding_function,
        is_trusting=origin.settings().pgchroma_trust_stored_functions,
    )
    return Collection(_backends[origin], model, embedder, origin)
