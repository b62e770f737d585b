"""Chroma's import path of `JinaEmbeddingFunction`."""

from pgchroma.embeddings.providers.jina import JinaEmbeddingFunction, JinaQueryConfig

__all__ = (
    "JinaEmbeddingFunction",
    "JinaQueryConfig",
)
