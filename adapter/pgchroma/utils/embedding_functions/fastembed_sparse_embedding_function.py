"""Chroma's import path of `FastembedSparseEmbeddingFunction`."""

from pgchroma.embeddings.sparse.fastembed import FastembedSparseEmbeddingFunction
from pgchroma.embeddings.sparse.tasked import Task as TaskType
from pgchroma.embeddings.sparse.tasked import (
    TaskConfig as FastembedSparseEmbeddingFunctionQueryConfig,
)

__all__ = (
    "FastembedSparseEmbeddingFunction",
    "FastembedSparseEmbeddingFunctionQueryConfig",
    "TaskType",
)
