"""LanceDB's registry. It shares its classes with Chroma's registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pgchroma.embeddings.lancedb.adapters import with_create, wrap_lancedb
from pgchroma.embeddings.lancedb.functions import MultiModalEmbeddingFunction
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.registry import known_embedding_functions, register_embedding_function
from pgchroma.embeddings.variables import get_var, set_var

__all__ = ("EmbeddingFunctionRegistry", "get_registry", "register")

Class = TypeVar("Class", bound=type[Any])

_CHROMA_NAMES = {
    "sentence_transformers": "sentence_transformer",
    "huggingface": "transformers",
    "gemini_text": "google_gemini",
    "bedrock_text": "amazon_bedrock",
}
"""LanceDB's names and Chroma's, if they differ by more than dashes."""


class EmbeddingFunctionRegistry:
    """Classes of embedding functions by name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Any]] = {}

    def get(self, name: str) -> type[Any]:
        """Return a class, whose ``create`` returns the function.

        Args:
            name: LanceDB's or Chroma's name of the class, with dashes or underscores. A name that
                both use, such as ``huggingface``, is LanceDB's.

        Raises:
            KeyError: The name is unknown. The message lists the known names.
        """
        if name in self._classes:
            return self._classes[name]
        plain = name.replace("-", "_")
        for known in (_CHROMA_NAMES.get(plain, plain), plain, name, name.replace("_", "-")):
            if known in known_embedding_functions:
                return with_create(known_embedding_functions[known])
        raise KeyError(
            f"Embedding function {name} not found, expected one of {', '.join(self.names())}"
        )

    def names(self) -> list[str]:
        """Return the sorted names, without LanceDB's other names for Chroma's classes."""
        return sorted(self._classes.keys() | known_embedding_functions.keys())

    def set_var(self, name: str, value: str) -> None:
        """Set a variable, which settings refer to as ``$var:name``.

        Raises:
            ValueError: The name contains a colon.
        """
        set_var(name, value)

    def get_var(self, name: str) -> str:
        """Return the value of a variable.

        Raises:
            KeyError: The variable is not set.
        """
        return get_var(name)

    def register(self, alias: str | None = None) -> Callable[[Class], Class]:
        """Return a decorator that registers a class, so that its collections can be reopened.

        A class replaces an earlier class of the same name.

        Args:
            alias: The name. The default is the name of the class.

        Raises:
            TypeError: The decorated object is not a class of embedding functions.
        """

        def add(function_class: Class) -> Class:
            name = alias or function_class.__name__
            if issubclass(function_class, MultiModalEmbeddingFunction):
                known_embedding_functions[name] = wrap_lancedb(function_class, name)
                self._classes[name] = function_class
            elif issubclass(function_class, EmbeddingFunction):
                register_embedding_function(function_class)
                self._classes[name] = with_create(function_class)
            else:
                raise TypeError(
                    f"expected a class of embedding functions, got {function_class!r:.200}"
                )
            return function_class

        return add


def get_registry() -> EmbeddingFunctionRegistry:
    """Return the registry of this process."""
    return _registry


def register(alias: str | None = None) -> Callable[[Class], Class]:
    """Return a decorator that registers a class of embedding functions.

    Example: ``@register("my-embedder")``.
    """
    return _registry.register(alias)


_registry = EmbeddingFunctionRegistry()
