"""Chroma's import path of `Search`."""

from pgchroma.model.search.request import Search

__all__ = ("Search",)
