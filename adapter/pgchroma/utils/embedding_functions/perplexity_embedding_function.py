"""Chroma's import path of `PerplexityEmbeddingFunction`."""

from pgchroma.embeddings.providers.perplexity import PerplexityEmbeddingFunction

__all__ = ("PerplexityEmbeddingFunction",)
