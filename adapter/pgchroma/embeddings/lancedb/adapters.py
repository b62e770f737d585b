"""One kind of embedding function made of the other: LanceDB's of Chroma's, and Chroma's of it."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction, Purpose, refuse_changes
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
    """A function of LanceDB's kind with Chroma's methods. `wrap_lancedb` makes a subclass for each.

    Attributes:
        function: The function itself.
    """

    function_class: ClassVar[type[MultiModalEmbeddingFunction]]

    def __init__(self, function: MultiModalEmbeddingFunction) -> None:
        self.function = function

    def __call__(self, input: Any) -> Embeddings:
        """Embed what is to be stored; one float32 array each, in their order."""
        made: Embeddings = self.function.compute_source_embeddings(input)
        return made

    def embed_query(self, input: Any) -> Embeddings:
        """Embed what is searched for."""
        inherited = TextEmbeddingFunction.compute_query_embeddings
        if type(self.function).compute_query_embeddings is inherited:
            return self(input)
        # One by one: a function of LanceDB's is given one query at a time.
        made = [self.function.compute_query_embeddings(query)[0] for query in input]
        return validate_embeddings(normalize_embeddings(made))

    def ndims(self) -> int:
        """The length of the embeddings."""
        return self.function.ndims()

    def get_config(self) -> dict[str, Any]:
        """The function's fields, without those that are secret."""
        return stored_settings(self.function)

    def default_space(self) -> Space:
        """The distance that the function asks for."""
        return self.function.default_space()

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuse another model."""
        refuse_changes(old_config, new_config, "name", "model", "model_name")


class ChromaAdapter(BatchedEmbeddingFunction[Any]):
    """One of Chroma's functions that LanceDB's users can create; `with_create` makes a subclass."""

    batch_size: ClassVar[int] = sys.maxsize  # the function itself knows best
    model_parameter: ClassVar[str | None] = None
    function_class: ClassVar[type[EmbeddingFunction[Any]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.function = self.function_class(*args, **kwargs)

    def check_inputs(self, inputs: Any) -> None:
        """Leave that to the function."""

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        is_query = purpose == "query"
        return self.function.embed_query(batch) if is_query else self.function(batch)

    def _identity(self, purpose: Purpose) -> str:
        # A function may know of more that decides than what it says in its settings.
        more = getattr(self.function, "cache_identity", None)
        return super()._identity(purpose) + ("" if more is None else f"\x00{more()}")

    def get_config(self) -> dict[str, Any]:
        """What the function says."""
        return self.function.get_config()

    def default_space(self) -> Space:
        """What the function says."""
        return self.function.default_space()

    def supported_spaces(self) -> list[Space]:
        """What the function says."""
        return self.function.supported_spaces()

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Leave that to the function."""
        self.function.validate_config_update(old_config, new_config)


def chroma_function(given: Any) -> Any:
    """Make a function of LanceDB's one of Chroma's; anything else stays what it is."""
    if not isinstance(given, MultiModalEmbeddingFunction):
        return given
    return (_adapted.get(type(given)) or wrap_lancedb(type(given), None))(given)


def wrap_lancedb(
    function_class: type[MultiModalEmbeddingFunction], alias: str | None
) -> type[LanceDBAdapter]:
    """Make the class under which collections remember a class of LanceDB's.

    Args:
        function_class: The class.
        alias: Its name in the registry. Without one, collections do not remember it.
    """
    members: dict[str, Any] = {
        "__doc__": function_class.__doc__,
        "__module__": function_class.__module__,
        # Which settings of a stored configuration are harmless is told by the defaults.
        "__signature__": inspect.signature(function_class),
        "function_class": function_class,
    }
    if alias is None:
        return type(function_class.__name__, (LanceDBAdapter,), members)

    def build_from_config(config: dict[str, Any]) -> LanceDBAdapter:
        # How it is called, and which file is its cache, is not for who stored it to say.
        foreign = config.keys() - stored_names(function_class)
        if foreign:
            raise ValueError(f"{alias} has no setting {', '.join(sorted(foreign))}")
        return made(function_class.create(**config))

    members["name"] = staticmethod(lambda: alias)
    members["build_from_config"] = staticmethod(build_from_config)
    made: type[LanceDBAdapter] = type(function_class.__name__, (LanceDBAdapter,), members)
    _adapted[function_class] = made
    return made


def with_create(function_class: type[EmbeddingFunction[Any]]) -> type[Any]:
    """Return a class with `create` and LanceDB's methods that embeds as this one of Chroma's."""
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


_adapted: dict[type[MultiModalEmbeddingFunction], type[LanceDBAdapter]] = {}
_created: dict[type[EmbeddingFunction[Any]], type[ChromaAdapter]] = {}
