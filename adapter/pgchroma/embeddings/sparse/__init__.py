"""Sparse embedding functions, and their registry."""

from pgchroma.embeddings.sparse.bm25 import ChromaBm25EmbeddingFunction
from pgchroma.embeddings.sparse.fastembed import (
    Bm25EmbeddingFunction,
    FastembedSparseEmbeddingFunction,
)
from pgchroma.embeddings.sparse.huggingface import HuggingFaceSparseEmbeddingFunction
from pgchroma.embeddings.sparse.registry import (
    config_to_sparse_embedding_function,
    register_sparse_embedding_function,
    sparse_embedding_function_to_config,
    sparse_known_embedding_functions,
)
from pgchroma.embeddings.sparse.splade import (
    ChromaCloudSpladeEmbeddingFunction,
    ChromaCloudSpladeEmbeddingModel,
)
from pgchroma.embeddings.sparse_protocol import (
    SparseEmbeddingFunction,
    normalize_sparse_vector,
    validate_sparse_vectors,
)
from pgchroma.model.sparse import SparseVector, SparseVectors

__all__ = (
    "Bm25EmbeddingFunction",
    "ChromaBm25EmbeddingFunction",
    "ChromaCloudSpladeEmbeddingFunction",
    "ChromaCloudSpladeEmbeddingModel",
    "FastembedSparseEmbeddingFunction",
    "HuggingFaceSparseEmbeddingFunction",
    "SparseEmbeddingFunction",
    "SparseVector",
    "SparseVectors",
    "config_to_sparse_embedding_function",
    "normalize_sparse_vector",
    "register_sparse_embedding_function",
    "sparse_embedding_function_to_config",
    "sparse_known_embedding_functions",
    "validate_sparse_vectors",
)
