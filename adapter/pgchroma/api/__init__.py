"""Chroma's import path for the types of clients: ``from pgchroma.api import ClientAPI``."""

from pgchroma.client._async.client import AsyncAdminClient, AsyncClient
from pgchroma.client._sync.client import AdminClient, Client

__all__ = ("AdminAPI", "AsyncAdminAPI", "AsyncClientAPI", "ClientAPI")

ClientAPI = Client
AsyncClientAPI = AsyncClient
AdminAPI = AdminClient
AsyncAdminAPI = AsyncAdminClient
