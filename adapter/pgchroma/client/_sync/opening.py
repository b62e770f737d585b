# Generated from _async/opening.py by tools/unasync.py; edit that and run `make fmt`.
"""New clients, which check their tenant and database, and are closed if that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pgchroma.client._sync.backends import http_backend
from pgchroma.client._sync.client import Client
from pgchroma.client.endpoints import unreachable
from pgchroma.client.origin import Origin, server_origin
from pgchroma.config import Settings
from pgchroma.errors import UnavailableError
from pgchroma.model.entities import UserIdentity

if TYPE_CHECKING:
    from pgchroma.backends._sync.base import Backend

__all__ = ("open_client", "open_http_client")

Choice: TypeAlias = Callable[[UserIdentity], tuple[str, str]]
"""Returns the tenant and the database for the identity that a credential belongs to."""


def open_client(
    backend: Backend,
    settings: Settings,
    origin: Origin | None,
    tenant: str,
    database: str,
) -> Client:
    """Return a client of a backend, which the client closes."""
    client = Client(backend, settings, origin=origin)
    try:
        client.set_tenant(tenant, database)
    except BaseException:
        client.close()
        raise
    return client


def open_http_client(settings: Settings, choose: Choice) -> Client:
    """Return a client of the server that the settings name.

    Raises:
        ValueError: No server answers there.
    """
    client = Client(http_backend(settings), settings, origin=server_origin(settings))
    try:
        client.set_tenant(*choose(client.get_user_identity()))
    except UnavailableError as error:
        client.close()
        raise ValueError(unreachable(error, settings)) from error
    except BaseException:
        client.close()
        raise
    return client
