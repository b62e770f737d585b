"""Chroma's import path of `HuggingFaceSparseEmbeddingFunction`."""

from pgchroma.embeddings.sparse.huggingface import HuggingFaceSparseEmbeddingFunction
from pgchroma.embeddings.sparse.tasked import Task as TaskType
from pgchroma.embeddings.sparse.tasked import (
    TaskConfig as HuggingFaceSparseEmbeddingFunctionQueryConfig,
)

__all__ = (
    "HuggingFaceSparseEmbeddingFunction",
    "HuggingFaceSparseEmbeddingFunctionQueryConfig",
    "TaskType",
)
