"""Chroma's import path for telemetry, of which there is none."""

from pgchroma.telemetry import product

__all__ = ("product",)
