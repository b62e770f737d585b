"""Chroma's import path of `MorphEmbeddingFunction`."""

from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction

__all__ = ("MorphEmbeddingFunction",)
