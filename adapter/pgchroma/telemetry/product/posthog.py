"""Chroma's import path of `Posthog`, which programs import to switch it off."""

from __future__ import annotations

__all__ = ("Posthog",)


class Posthog:
    """Reports nothing. Nothing here calls it."""

    def capture(self, event: object) -> None:
        """Report nothing."""
