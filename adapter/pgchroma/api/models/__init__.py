"""Chroma's import path for the classes of collections."""

from pgchroma.api.models import AsyncCollection, Collection

__all__ = ("AsyncCollection", "Collection")
