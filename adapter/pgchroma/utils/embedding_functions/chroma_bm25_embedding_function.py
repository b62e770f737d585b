"""Chroma's import path of `ChromaBm25EmbeddingFunction`."""

from pgchroma.embeddings.sparse.bm25 import ChromaBm25EmbeddingFunction

__all__ = ("ChromaBm25EmbeddingFunction",)
