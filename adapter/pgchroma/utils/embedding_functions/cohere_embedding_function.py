"""Chroma's import path of `CohereEmbeddingFunction`."""

from pgchroma.embeddings.providers.cohere import CohereEmbeddingFunction

__all__ = ("CohereEmbeddingFunction",)
