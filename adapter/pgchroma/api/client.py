"""Chroma's import path for clients and their shared state."""

from pgchroma.api.shared_system_client import SharedSystemClient
from pgchroma.client._sync.client import AdminClient, Client

__all__ = ("AdminAPI", "AdminClient", "Client", "ClientAPI", "SharedSystemClient")

AdminAPI = AdminClient
ClientAPI = Client
