"""Chroma's import path for embedding functions, data loaders and helpers."""

from pgchroma.utils import (
    batch_utils,
    data_loaders,
    distance_functions,
    embedding_functions,
    results,
    sparse_embedding_utils,
)

__all__ = (
    "batch_utils",
    "data_loaders",
    "distance_functions",
    "embedding_functions",
    "results",
    "sparse_embedding_utils",
)
