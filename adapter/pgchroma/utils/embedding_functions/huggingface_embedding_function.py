"""Chroma's import path of `HuggingFaceEmbeddingFunction`."""

from pgchroma.embeddings.providers.huggingface import (
    HuggingFaceEmbeddingFunction,
    HuggingFaceEmbeddingServer,
)

__all__ = (
    "HuggingFaceEmbeddingFunction",
    "HuggingFaceEmbeddingServer",
)
