"""Chroma's import path of `SharedSystemClient`."""

from __future__ import annotations

from pgchroma.client.shared import clear_system_cache

__all__ = ("SharedSystemClient",)


class SharedSystemClient:
    """What the clients of one embedded server share within a process."""

    @staticmethod
    def clear_system_cache() -> None:
        """Have the next client of a directory connect for itself. Clients that are open go on."""
        clear_system_cache()
