"""Chroma's import path for asynchronous clients."""

from pgchroma.api.async_api import AsyncAdminAPI, AsyncClientAPI
from pgchroma.api.shared_system_client import SharedSystemClient
from pgchroma.client._async.client import AsyncAdminClient, AsyncClient

__all__ = (
    "AsyncAdminAPI",
    "AsyncAdminClient",
    "AsyncClient",
    "AsyncClientAPI",
    "SharedSystemClient",
)
