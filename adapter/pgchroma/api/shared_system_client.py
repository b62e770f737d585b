"""Chroma's import path for `SharedSystemClient`."""

from __future__ import annotations

from pgchroma.backends.embedded_servers import clear_system_cache

__all__ = ("SharedSystemClient",)


class SharedSystemClient:
    """The state that clients of one embedded server share within a process."""

    @staticmethod
    def clear_system_cache() -> None:
        """Let the next client of a directory open its server again. Open clients continue."""
        clear_system_cache()
