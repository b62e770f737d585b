"""Sparse embedding functions by name: how a schema remembers the one it was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pgchroma.embeddings.sparse.bm25 import ChromaBm25EmbeddingFunction
from pgchroma.embeddings.sparse.fastembed import (
    Bm25EmbeddingFunction,
    FastembedSparseEmbeddingFunction,
)
from pgchroma.embeddings.sparse.huggingface import HuggingFaceSparseEmbeddingFunction
from pgchroma.embeddings.sparse.splade import ChromaCloudSpladeEmbeddingFunction
from pgchroma.embeddings.trust import check_trusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgchroma.embeddings.sparse_protocol import SparseEmbeddingFunction

__all__ = (
    "config_to_sparse_embedding_function",
    "register_sparse_embedding_function",
    "sparse_embedding_function_to_config",
    "sparse_known_embedding_functions",
)

Class = TypeVar("Class", bound="type[SparseEmbeddingFunction[Any]]")

sparse_known_embedding_functions: dict[str, type[SparseEmbeddingFunction[Any]]] = {
    "bm25": Bm25EmbeddingFunction,
    "chroma-cloud-splade": ChromaCloudSpladeEmbeddingFunction,
    "chroma_bm25": ChromaBm25EmbeddingFunction,
    "fastembed_sparse": FastembedSparseEmbeddingFunction,
    "huggingface_sparse": HuggingFaceSparseEmbeddingFunction,
}
"""Name to class; `register_sparse_embedding_function` adds to it."""


@overload
def register_sparse_embedding_function(ef_class: Class) -> Class: ...


@overload
def register_sparse_embedding_function(ef_class: None = None) -> Callable[[Class], Class]: ...


def register_sparse_embedding_function(ef_class: Any = None) -> Any:
    """Make a class known under its ``name()``.

    To be used as a decorator, with or without brackets, or as a function. A later class of the same
    name takes the place of the earlier.

    Raises:
        ValueError: The class has no name.
    """
    return _register if ef_class is None else _register(ef_class)


def _register(ef_class: Class) -> Class:
    try:
        name = ef_class.name()
    except Exception as exc:
        raise ValueError(f"Failed to register sparse embedding function: {exc}") from exc
    if not isinstance(name, str) or not name:
        raise ValueError(f"Failed to register sparse embedding function: its name is {name!r:.80}")
    sparse_known_embedding_functions[name] = ef_class
    return ef_class


def config_to_sparse_embedding_function(
    config: dict[str, Any], *, is_trusted: bool = False
) -> SparseEmbeddingFunction[Any]:
    """Build the function that a schema stored.

    Args:
        config: ``{"type": "known", "name": …, "config": …}``.
        is_trusted: Whether addresses, key variables and remote code in it are followed.

    Raises:
        ValueError: The name is unknown, more is asked for than is followed, or the settings are
            refused.
    """
    if "name" not in config:
        raise ValueError("Config must contain a 'name' field.")
    name = config["name"]
    if not isinstance(name, str) or name not in sparse_known_embedding_functions:
        raise ValueError(f"Unsupported sparse embedding function: {name}")
    function_class = sparse_known_embedding_functions[name]
    settings = config.get("config") or {}
    if not is_trusted:
        check_trusted(name, function_class, settings)
    try:
        return function_class.build_from_config(settings)
    except Exception as exc:
        raise ValueError(
            f"Could not build sparse embedding function {name} from config {settings}: {exc}"
        ) from exc


def sparse_embedding_function_to_config(
    function: SparseEmbeddingFunction[Any] | None,
) -> dict[str, Any]:
    """Say what a schema stores of a function, and register the function's class.

    Returns:
        ``{"type": "known", "name": …, "config": …}``; for none ``{"type": "unknown"}``.

    Raises:
        ValueError: The function has no name, or refuses its own settings.
    """
    if function is None:
        return {"type": "unknown"}
    name, settings = function.name(), function.get_config()
    function.validate_config(settings)
    register_sparse_embedding_function(type(function))
    return {"type": "known", "name": name, "config": settings}
