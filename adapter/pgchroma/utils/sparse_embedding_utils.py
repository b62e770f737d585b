"""Chroma's import path of `normalize_sparse_vector`."""

from pgchroma.embeddings.sparse.protocol import normalize_sparse_vector

__all__ = ("normalize_sparse_vector",)
