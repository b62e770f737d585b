"""Chroma's import path for clients and for what they share."""

from __future__ import annotations

from pgchroma.client._sync.client import AdminClient, Client
from pgchroma.client.shared import clear_system_cache

__all__ = ("AdminClient", "Client", "SharedSystemClient")


class SharedSystemClient:
    """What the clients of one embedded server share within a process."""

    @staticmethod
    def clear_system_cache() -> None:
        """Close the connections of every embedded server that this process uses."""
        clear_system_cache()
