"""Adapters between the two kinds of embedding functions, Chroma's and LanceDB's."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction, Purpose, refuse_changes
from pgchroma.embeddings.calls.cache import CacheKeyed
from pgchroma.embeddings.lancedb.fields import LanceDBMethods
from pgchroma.embeddings.lancedb.functions import (
    MultiModalEmbeddingFunction,
    TextEmbeddingFunction,
    stored_names,
    stored_settings,
)
from pgchroma.embeddings.protocol import (
    EmbeddingFunction,
    Embeddings,
    Space,
    normalize_embeddings,
    validate_embeddings,
)

__all__ = ("ChromaAdapter", "LanceDBAdapter", "chroma_function", "with_create", "wrap_lancedb")


class LanceDBAdapter(LanceDBMethods, EmbeddingFunction[Any]):
    """A function of LanceDB's kind with Chroma's methods.

    `wrap_lancedb` creates a subclass for each class.

    Attributes:
        function: The wrapped function.
    """

    function_class: ClassVar[type[MultiModalEmbeddingFunction]]

    def __init__(self, function: MultiModalEmbeddingFunction) -> None:
        self.function = function

    def __call__(self, input: Any) -> Embeddings:
        """Embed documents to store: one float32 array each, in their order."""
        embeddings: Embeddings = self.function.compute_source_embeddings(input)
        return embeddings

    def embed_query(self, input: Any) -> Embeddings:
        """Embed queries."""
        inherited = TextEmbeddingFunction.compute_query_embeddings
        if type(self.function).compute_query_embeddings is inherited:
            return self(input)
        # LanceDB's method accepts one query.
        embeddings = [self.function.compute_query_embeddings(query)[0] for query in input]
        return validate_embeddings(normalize_embeddings(embeddings))

    def ndims(self) -> int:
        """Return the length of the embeddings."""
        return self.function.ndims()

    def get_config(self) -> dict[str, Any]:
        """Return the function's fields without secrets."""
        return stored_settings(self.function)

    def default_space(self) -> Space:
        """Return the function's distance."""
        return self.function.default_space()

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model changes."""
        refuse_changes(old_config, new_config, "name", "model", "model_name")


class ChromaAdapter(BatchedEmbeddingFunction[Any]):
    """One of Chroma's functions with LanceDB's methods. `with_create` creates a subclass."""

    batch_size: ClassVar[int] = sys.maxsize  # the wrapped function divides the inputs itself
    model_parameter: ClassVar[str | None] = None
    function_class: ClassVar[type[EmbeddingFunction[Any]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.function = self.function_class(*args, **kwargs)

    def check_inputs(self, inputs: Any) -> None:
        """Do nothing, because the wrapped function checks its inputs."""

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        is_query = purpose == "query"
        return self.function.embed_query(batch) if is_query else self.function(batch)

    def _identity(self, purpose: Purpose) -> str:
        identity = super()._identity(purpose)
        if isinstance(self.function, CacheKeyed):
            identity += f"\x00{self.function.cache_identity()}"
        return identity

    def get_config(self) -> dict[str, Any]:
        """Return the function's settings."""
        return self.function.get_config()

    def default_space(self) -> Space:
        """Return the function's distance."""
        return self.function.default_space()

    def supported_spaces(self) -> list[Space]:
        """Return the function's distances."""
        return self.function.supported_spaces()

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Let the function validate the change."""
        self.function.validate_config_update(old_config, new_config)


def chroma_function(function: Any) -> Any:
    """Return a function of LanceDB's kind as one of Chroma's kind, and anything else unchanged."""
    if not isinstance(function, MultiModalEmbeddingFunction):
        return function
    return (_adapters.get(type(function)) or wrap_lancedb(type(function), None))(function)


def wrap_lancedb(
    function_class: type[MultiModalEmbeddingFunction], alias: str | None
) -> type[LanceDBAdapter]:
    """Return the class that collections store for a class of LanceDB's kind.

    Args:
        function_class: The class.
        alias: Its name in the registry. Without a name, collections do not store it.
    """
    members: dict[str, Any] = {
        "__doc__": function_class.__doc__,
        "__module__": function_class.__module__,
        # The trust check compares stored settings with the defaults of this signature.
        "__signature__": inspect.signature(function_class),
        "function_class": function_class,
    }
    if alias is None:
        return type(function_class.__name__, (LanceDBAdapter,), members)

    def build_from_config(config: dict[str, Any]) -> LanceDBAdapter:
        # A stored configuration must not set options or the file of a cache.
        unknown = config.keys() - stored_names(function_class)
        if unknown:
            raise ValueError(f"{alias} has no setting {', '.join(sorted(unknown))}")
        return adapter(function_class.create(**config))

    members["name"] = staticmethod(lambda: alias)
    members["build_from_config"] = staticmethod(build_from_config)
    adapter: type[LanceDBAdapter] = type(function_class.__name__, (LanceDBAdapter,), members)
    _adapters[function_class] = adapter
    return adapter


def with_create(function_class: type[EmbeddingFunction[Any]]) -> type[Any]:
    """Return a class with LanceDB's `create` and methods for a class of Chroma's kind."""
    if issubclass(function_class, LanceDBAdapter):
        return function_class.function_class
    if issubclass(function_class, BatchedEmbeddingFunction):
        return function_class
    if function_class not in _created:
        signature = inspect.signature(function_class)
        models = (name for name in ("model_name", "model") if name in signature.parameters)
        members: dict[str, Any] = {
            "__doc__": function_class.__doc__,
            "__module__": function_class.__module__,
            "__qualname__": function_class.__qualname__,
            "__signature__": signature,
            "function_class": function_class,
            "model_parameter": next(models, None),
            "name": staticmethod(function_class.name),
            "build_from_config": staticmethod(function_class.build_from_config),
            "validate_config": staticmethod(function_class.validate_config),
        }
        _created[function_class] = type(function_class.__name__, (ChromaAdapter,), members)
    return _created[function_class]


_adapters: dict[type[MultiModalEmbeddingFunction], type[LanceDBAdapter]] = {}
_created: dict[type[EmbeddingFunction[Any]], type[ChromaAdapter]] = {}
