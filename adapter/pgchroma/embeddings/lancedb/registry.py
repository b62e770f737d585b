"""The registry as LanceDB's users know it; it has Chroma's functions, and Chroma's has its."""

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
"""LanceDB's names to Chroma's, where they differ by more than the dash."""


class EmbeddingFunctionRegistry:
    """Classes of embedding functions by name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Any]] = {}

    def get(self, name: str) -> type[Any]:
        """Find a class; its ``create`` makes the function.

        Args:
            name: LanceDB's name of it or Chroma's, with dashes or underscores. Where one name means
                two, as ``huggingface`` does, it is LanceDB's.

        Raises:
            KeyError: There is none of that name; the message lists those there are.
        """
        if name in self._classes:
            return self._classes[name]
        plain = name.replace("-", "_")
        for known in (_CHROMA_NAMES.get(plain, plain), plain, name, name.replace("_", "-")):
            if known in known_embedding_functions:
                return with_create(known_embedding_functions[known])
        raise KeyError(f"Embedding function {name} not found; there are {', '.join(self.names())}")

    def names(self) -> list[str]:
        """List the names, sorted; those of LanceDB's that mean one of them are not among them."""
        return sorted(self._classes.keys() | known_embedding_functions.keys())

    def set_var(self, name: str, value: str) -> None:
        """Set a variable that settings name as ``$var:name``; see `get_var`.

        Raises:
            ValueError: The name has a colon.
        """
        set_var(name, value)

    def get_var(self, name: str) -> str:
        """Return a variable that was set.

        Raises:
            KeyError: It has not been set.
        """
        return get_var(name)

    def register(self, alias: str | None = None) -> Callable[[Class], Class]:
        """Make a class known, as a decorator; collections made with it can be reopened.

        A later class of the same name takes the place of the earlier.

        Args:
            alias: The name; by default that of the class.

        Raises:
            TypeError: What is decorated is no class of embedding functions.
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
                raise TypeError(f"{function_class!r} is no class of embedding functions")
            return function_class

        return add


def get_registry() -> EmbeddingFunctionRegistry:
    """Return this process's registry."""
    return _registry


def register(alias: str | None = None) -> Callable[[Class], Class]:
    """Make a class of embedding functions known, as a decorator: ``@register("my-embedder")``."""
    return _registry.register(alias)


_registry = EmbeddingFunctionRegistry()
