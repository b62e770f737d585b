"""Sparse embedding functions by name, and what a schema stores of its function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from pgchroma.embeddings.function_registry import FunctionRegistry
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "CLASSES",
    "config_to_sparse_embedding_function",
    "register_sparse_embedding_function",
    "sparse_embedding_function_to_config",
    "sparse_known_embedding_functions",
)

Class = TypeVar("Class", bound="type[SparseEmbeddingFunction[Any]]")

CLASSES: Final = {
    "bm25": ("fastembed", "Bm25EmbeddingFunction"),
    "chroma-cloud-splade": ("splade", "ChromaCloudSpladeEmbeddingFunction"),
    "chroma_bm25": ("bm25", "ChromaBm25EmbeddingFunction"),
    "fastembed_sparse": ("fastembed", "FastembedSparseEmbeddingFunction"),
    "huggingface_sparse": ("huggingface", "HuggingFaceSparseEmbeddingFunction"),
}
"""Name to module in `pgchroma.embeddings.sparse` and class."""

sparse_known_embedding_functions: FunctionRegistry[SparseEmbeddingFunction[Any]] = FunctionRegistry(
    "sparse embedding function",
    SparseEmbeddingFunction,
    "pgchroma.embeddings.sparse",
    CLASSES,
    not_found="Unsupported sparse embedding function: {name}",
)
"""Name to class; `register_sparse_embedding_function` adds to it."""


@overload
def register_sparse_embedding_function(ef_class: Class) -> Class: ...


@overload
def register_sparse_embedding_function(ef_class: None = None) -> Callable[[Class], Class]: ...


def register_sparse_embedding_function(ef_class: Any = None) -> Any:
    """Register a class under its ``name()``.

    Use it as a decorator, with or without brackets, or as a function. A class replaces an earlier
    class of the same name.

    Raises:
        ValueError: The class has no name.
    """
    register = sparse_known_embedding_functions.register
    return register if ef_class is None else register(ef_class)


def config_to_sparse_embedding_function(
    config: dict[str, Any], *, is_trusted: bool = False
) -> SparseEmbeddingFunction[Any]:
    """Build a sparse embedding function from what a schema stores of it.

    Args:
        config: The function's ``name`` in the registry, and its ``config`` if it has settings.
        is_trusted: Whether to apply addresses, variables of keys and remote code in the
            configuration.

    Raises:
        ValueError: The name is missing or unknown, the configuration is not trusted and requires
            trust, or the function cannot be built.
    """
    return sparse_known_embedding_functions.from_config(config, is_trusted=is_trusted)


def sparse_embedding_function_to_config(
    function: SparseEmbeddingFunction[Any] | None,
) -> dict[str, Any]:
    """Return what a schema stores of a function, and register the function's class.

    Returns:
        ``{"type": "known", "name": …, "config": …}``, or ``{"type": "unknown"}`` for no function.

    Raises:
        ValueError: The function has no name, or does not accept its own settings.
    """
    if function is None:
        return {"type": "unknown"}
    return sparse_known_embedding_functions.to_config(function)
