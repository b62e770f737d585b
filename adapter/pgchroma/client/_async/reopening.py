"""Clients and collections after unpickling.

Unpickling cannot await, so connections are opened on first use.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgchroma.backends._async.delegating import AsyncDelegatingBackend
from pgchroma.client._async.backends import backend_of
from pgchroma.client._async.embedder import AsyncEmbedder
from pgchroma.client.origin import Origin
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import CollectionModel

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend
    from pgchroma.client._async.client import AsyncClient
    from pgchroma.client._async.collection import AsyncCollection

__all__ = ("reopened_client", "reopened_collection")

_backends: dict[Origin, _ReopenedBackend] = {}


def reopened_client(origin: Origin, tenant: str, database: str) -> AsyncClient:
    """Return a client that was pickled."""
    from pgchroma.client._async.client import AsyncClient  # noqa: PLC0415  (it imports this module)

    return AsyncClient(_ReopenedBackend(origin), origin.settings(), tenant, database, origin)


def reopened_collection(
    origin: Origin, model: CollectionModel, has_function: bool
) -> AsyncCollection:
    """Return a collection that was pickled. Collections of one origin share their connections."""
    from pgchroma.client._async.collection import AsyncCollection  # noqa: PLC0415

    backend = _backends.setdefault(origin, _ReopenedBackend(origin))
    embedder = AsyncEmbedder(
        DefaultEmbeddingFunction() if has_function else None,
        persisted=model.configuration.embedding_function,
        is_trusting=origin.settings().pgchroma_trust_stored_functions,
    )
    return AsyncCollection(backend, model, embedder, origin)


class _ReopenedBackend(AsyncDelegatingBackend):
    """A backend that connects when it is first used, in the event loop of that use."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._backend: AsyncBackend | None = None
        self._opening: asyncio.Lock | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Release connections."""
        self._is_closed = True
        if self._backend is not None:
            await self._backend.close()

    async def _delegate(self) -> AsyncBackend:
        if self._is_closed:
            raise InvalidArgumentError("this client is closed")
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._backend is None:
                self._backend = await backend_of(self._origin)
        return self._backend
