"""Chroma's import path of `VoyageAIEmbeddingFunction`."""

from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction

__all__ = ("VoyageAIEmbeddingFunction",)
