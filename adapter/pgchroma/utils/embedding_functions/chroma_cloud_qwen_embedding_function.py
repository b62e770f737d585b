"""Chroma's import path of `ChromaCloudQwenEmbeddingFunction`."""

from pgchroma.embeddings.providers.chroma_cloud_qwen import (
    CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS,
    ChromaCloudQwenEmbeddingFunction,
    ChromaCloudQwenEmbeddingInstructions,
    ChromaCloudQwenEmbeddingModel,
    ChromaCloudQwenEmbeddingTarget,
)

__all__ = (
    "CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS",
    "ChromaCloudQwenEmbeddingFunction",
    "ChromaCloudQwenEmbeddingInstructions",
    "ChromaCloudQwenEmbeddingModel",
    "ChromaCloudQwenEmbeddingTarget",
)
