"""Chroma's import path of `AsyncCollection`."""

from pgchroma.client._async.collection import AsyncCollection

__all__ = ("AsyncCollection",)
