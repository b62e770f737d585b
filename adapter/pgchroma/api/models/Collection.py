"""Chroma's import path of `Collection`."""

from pgchroma.client._sync.collection import Collection

__all__ = ("Collection",)
