"""Chroma's import path of `Bm25EmbeddingFunction`."""

from pgchroma.embeddings.sparse.fastembed import Bm25EmbeddingFunction
from pgchroma.embeddings.sparse.tasked import Task as TaskType
from pgchroma.embeddings.sparse.tasked import TaskConfig as Bm25EmbeddingFunctionQueryConfig

__all__ = ("Bm25EmbeddingFunction", "Bm25EmbeddingFunctionQueryConfig", "TaskType")
