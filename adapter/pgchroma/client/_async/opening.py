"""New clients, which check their tenant and database, and are closed if that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pgchroma.client._async.backends import http_backend
from pgchroma.client._async.client import AsyncClient
from pgchroma.client.endpoints import unreachable
from pgchroma.client.origin import Origin, server_origin
from pgchroma.config import Settings
from pgchroma.errors import UnavailableError
from pgchroma.model.entities import UserIdentity

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("open_client", "open_http_client")

Choice: TypeAlias = Callable[[UserIdentity], tuple[str, str]]
"""Returns the tenant and the database for the identity that a credential belongs to."""


async def open_client(
    backend: AsyncBackend,
    settings: Settings,
    origin: Origin | None,
    tenant: str,
    database: str,
) -> AsyncClient:
    """Return a client of a backend, which the client closes."""
    client = AsyncClient(backend, settings, origin=origin)
    try:
        await client.set_tenant(tenant, database)
    except BaseException:
        await client.close()
        raise
    return client


async def open_http_client(settings: Settings, choose: Choice) -> AsyncClient:
    """Return a client of the server that the settings name.

    Raises:
        ValueError: No server answers there.
    """
    client = AsyncClient(http_backend(settings), settings, origin=server_origin(settings))
    try:
        await client.set_tenant(*choose(await client.get_user_identity()))
    except UnavailableError as error:
        await client.close()
        raise ValueError(unreachable(error, settings)) from error
    except BaseException:
        await client.close()
        raise
    return client
