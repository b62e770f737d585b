"""Chroma's import path of `ChromaCloudSpladeEmbeddingFunction`."""

from pgchroma.embeddings.sparse.splade import (
    ChromaCloudSpladeEmbeddingFunction,
    ChromaCloudSpladeEmbeddingModel,
)

__all__ = (
    "ChromaCloudSpladeEmbeddingFunction",
    "ChromaCloudSpladeEmbeddingModel",
)
