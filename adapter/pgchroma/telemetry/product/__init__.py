"""Chroma's import path for the telemetry of its clients."""

from pgchroma.telemetry.product import posthog

__all__ = ("posthog",)
