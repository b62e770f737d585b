"""Embedding functions by name: how a collection remembers the one it was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload
from warnings import warn

from pgchroma.embeddings.known import FunctionRegistry
from pgchroma.embeddings.lancedb.adapters import ChromaAdapter, chroma_function
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.trust import check_trusted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "config_to_embedding_function",
    "embedding_function_to_config",
    "known_embedding_functions",
    "register_embedding_function",
)

Class = TypeVar("Class", bound="type[EmbeddingFunction[Any]]")

known_embedding_functions: dict[str, type[EmbeddingFunction[Any]]] = FunctionRegistry(
    {"default": DefaultEmbeddingFunction, "onnx_mini_lm_l6_v2": ONNXMiniLM_L6_V2}
)
"""Name to class; `register_embedding_function` adds to it."""


@overload
def register_embedding_function(ef_class: Class) -> Class: ...


@overload
def register_embedding_function(ef_class: None = None) -> Callable[[Class], Class]: ...


def register_embedding_function(ef_class: Any = None) -> Any:
    """Make a class known under its ``name()``, so that collections made with it can be reopened.

    To be used as a decorator, with or without brackets, or as a function. A later class of the same
    name takes the place of the earlier.

    Raises:
        ValueError: The class has no name.
    """
    return _register if ef_class is None else _register(ef_class)


def _register(ef_class: Class) -> Class:
    if getattr(ef_class, "name", None) is EmbeddingFunction.name:
        raise ValueError(_name_advice(ef_class, "it has none"))
    try:
        name = ef_class.name()
    except Exception as exc:
        raise ValueError(f"Failed to register embedding function: {exc}") from exc
    if not isinstance(name, str) or not name:
        raise ValueError(_name_advice(ef_class, f"it is {name!r:.80}"))
    known_embedding_functions[name] = ef_class
    return ef_class


def _name_advice(ef_class: Any, error: str) -> str:
    return (
        f"Failed to register embedding function: {ef_class!r:.200} needs a name, and {error}. Give "
        "the class a static method `name()` that returns a text"
    )


def config_to_embedding_function(
    config: dict[str, Any], *, is_trusted: bool = False
) -> EmbeddingFunction[Any]:
    """Make an embedding function again from what a collection stored of it.

    Args:
        config: The function's ``name`` in the registry and, if it has settings, its ``config``.
        is_trusted: Whether addresses, variables of keys and remote code are followed that the
            configuration names; whoever can write to the collection has chosen them.

    Raises:
        ValueError: No name is given, none such is registered, the configuration asks for what only
            a trusted one may, or the function cannot be built, as when its package or its API key
            is missing.
    """
    if "name" not in config:
        raise ValueError("Config must contain a 'name' field.")
    name, settings = config["name"], config.get("config", {})
    ef_class = known_embedding_functions.get(name) if isinstance(name, str) else None
    if ef_class is None:
        raise ValueError(
            f"Embedding function {name} not found. "
            "Add @register_embedding_function decorator to the class definition."
        )
    if not is_trusted:
        check_trusted(name, ef_class, settings)
    try:
        return ef_class.build_from_config(settings)
    except Exception as exc:
        raise ValueError(
            f"Could not build embedding function {name} from config {settings}: {exc}"
        ) from exc


@overload
def embedding_function_to_config(embedding_function: None) -> None: ...


@overload
def embedding_function_to_config(embedding_function: EmbeddingFunction[Any]) -> dict[str, Any]: ...


def embedding_function_to_config(
    embedding_function: EmbeddingFunction[Any] | None,
) -> dict[str, Any] | None:
    """Say what a collection stores of an embedding function, and register the function's class.

    One of LanceDB's functions is stored as it was registered.

    Returns:
        ``{"type": "known", "name": …, "config": …}``; for a function that cannot be
        stored ``{"type": "legacy"}``, with a DeprecationWarning; for none ``None``.
    """
    if embedding_function is None:
        return None
    try:
        return _known_config(chroma_function(embedding_function)) or {"type": "legacy"}
    except Exception as exc:
        warn(f"legacy embedding function config: {exc}", DeprecationWarning, stacklevel=2)
        return {"type": "legacy"}


def _known_config(embedding_function: EmbeddingFunction[Any]) -> dict[str, Any] | None:
    if embedding_function.is_legacy():
        return None
    name, settings = embedding_function.name(), embedding_function.get_config()
    embedding_function.validate_config(settings)
    function_class = type(embedding_function)
    if isinstance(embedding_function, ChromaAdapter):
        function_class = embedding_function.function_class
    register_embedding_function(function_class)
    return {"type": "known", "name": name, "config": settings}
