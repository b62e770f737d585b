"""Sparse embedding functions, and their registry.

The module of a class is imported when the class is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgchroma.embeddings.sparse.protocol import (
    SparseEmbeddingFunction,
    normalize_sparse_vector,
    validate_sparse_vectors,
)
from pgchroma.embeddings.sparse.registry import (
    CLASSES,
    config_to_sparse_embedding_function,
    register_sparse_embedding_function,
    sparse_embedding_function_to_config,
    sparse_known_embedding_functions,
)
from pgchroma.model.sparse import SparseVector, SparseVectors

if TYPE_CHECKING:
    from pgchroma.embeddings.sparse.bm25 import ChromaBm25EmbeddingFunction
    from pgchroma.embeddings.sparse.fastembed import (
        Bm25EmbeddingFunction,
        FastembedSparseEmbeddingFunction,
    )
    from pgchroma.embeddings.sparse.huggingface import HuggingFaceSparseEmbeddingFunction
    from pgchroma.embeddings.sparse.splade import (
        ChromaCloudSpladeEmbeddingFunction,
        ChromaCloudSpladeEmbeddingModel,
    )

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

_MODULES = {name: module for module, name in CLASSES.values()} | {
    "ChromaCloudSpladeEmbeddingModel": "splade",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_MODULES))
