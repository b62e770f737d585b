"""Chroma's import path for search expressions."""

from pgchroma.execution import expression

__all__ = ("expression",)
