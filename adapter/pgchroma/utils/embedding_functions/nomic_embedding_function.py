"""Chroma's import path of `NomicEmbeddingFunction`."""

from pgchroma.embeddings.providers.nomic import NomicEmbeddingFunction, NomicQueryConfig

__all__ = (
    "NomicEmbeddingFunction",
    "NomicQueryConfig",
)
