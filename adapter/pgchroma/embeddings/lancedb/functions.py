"""Embedding functions of LanceDB's kind: pydantic models whose fields are the settings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from pgchroma.embeddings.calls.batched import check_texts
from pgchroma.embeddings.calls.cache import class_identity
from pgchroma.embeddings.calls.options import OPTION_NAMES, Options
from pgchroma.embeddings.calls.runner import BatchRunner, runner_of
from pgchroma.embeddings.keys import is_secret_name, strip_userinfo
from pgchroma.embeddings.lancedb.fields import LanceDBMethods, as_inputs
from pgchroma.embeddings.protocol import Embeddings, Space
from pgchroma.embeddings.variables import resolve_variables

__all__ = (
    "MultiModalEmbeddingFunction",
    "TextEmbeddingFunction",
    "stored_names",
    "stored_settings",
)

BATCH_SIZE = 100
"""The maximum number of inputs of a call, unless the options set it."""


class MultiModalEmbeddingFunction(LanceDBMethods, BaseModel):
    """Embeds texts, images or other inputs of a model.

    The fields of a subclass are its settings. A collection that was created with it stores them,
    except for secrets, which are fields of the type `SecretStr` and texts with names like
    ``api_key``.
    """

    # Settings may be called `model_name`, and error messages must not contain keys.
    model_config = ConfigDict(
        protected_namespaces=(),
        ignored_types=(cached_property,),
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        extra="forbid",
    )

    max_retries: int = Field(default=7, ge=0)
    """The maximum number of retries after a transient error."""

    _option_names: ClassVar[frozenset[str]] = frozenset()
    """The arguments of `create` besides the fields. Without batches there are no options."""

    _options: Options = PrivateAttr(default_factory=Options)
    _runner: BatchRunner | None = PrivateAttr(default=None)

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create the function.

        Args:
            settings: The fields, and for a `TextEmbeddingFunction` the options of `Options`.
                ``name`` is the field ``model_name``, unless there is a field ``name``.

        Raises:
            TypeError: A setting is unknown.
            ValueError: The value of a setting is not allowed.
        """
        settings = resolve_variables(settings)
        fields = cls.model_fields
        if "name" in settings and "name" not in fields and "model_name" in fields:
            settings["model_name"] = settings.pop("name")
        names = cls._option_names - fields.keys() & settings.keys()
        options = {key: settings.pop(key) for key in names}
        known = fields.keys() | {field.alias for field in fields.values() if field.alias}
        unknown = settings.keys() - known
        if unknown and cls.model_config.get("extra") != "allow":
            raise TypeError(
                f"{cls.__name__} has no setting {', '.join(sorted(unknown))}, expected "
                f"{', '.join(sorted(fields.keys() | cls._option_names))}"
            )
        function = cls(**settings)
        function._options = replace(function._options, **options)
        return function

    @abstractmethod
    def ndims(self) -> int:
        """Return the length of the embeddings."""

    @abstractmethod
    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed documents to store, such as texts, images or their URIs: one vector each."""

    @abstractmethod
    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed one query, and return a list with its vector."""

    def default_space(self) -> Space:
        """Return the distance of new collections with this function."""
        return "l2"

    def sanitize_input(self, value: Any) -> list[Any]:
        """Return one input, or a column of inputs from pandas, pyarrow or numpy, as a list."""
        return as_inputs(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return the fields of a repr, without secrets."""
        for key, value in super().__repr_args__():
            if key is None or not _is_secret(key, value):
                yield key, _public(value)


class TextEmbeddingFunction(MultiModalEmbeddingFunction):
    """Embeds texts with `generate_embeddings`, which a subclass implements.

    It is called with batches, and retried after transient errors: a lost connection, a status such
    as 429 or 503, or an `EmbeddingError` with `is_transient`.
    """

    _option_names: ClassVar[frozenset[str]] = OPTION_NAMES

    @abstractmethod
    def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the embeddings of one batch, in its order, as a matrix or a list of vectors."""

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed texts to store: one, or a list, an array or a series of them.

        Raises:
            ValueError: An input is not a text.
            EmbeddingError: A call failed after all retries, or did not return one embedding for
                each text.
        """
        inputs = self.sanitize_input(texts)
        check_texts(inputs)
        return self._batch_runner().run(self.generate_embeddings, inputs, self._identity)

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed a query. Unless overridden, it is embedded like a document."""
        return self.compute_source_embeddings(query)

    def _batch_runner(self) -> BatchRunner:
        return runner_of(
            self,
            lambda: BatchRunner(
                replace(self._options, max_retries=self.max_retries),
                name=type(self).__name__,
                batch_size=BATCH_SIZE,
                concurrency=1,
            ),
        )

    def _identity(self) -> str:
        settings = orjson.dumps(stored_settings(self), option=orjson.OPT_SORT_KEYS)
        return f"{class_identity(type(self))}\x00{settings.decode()}"


def stored_names(function_class: type[MultiModalEmbeddingFunction]) -> set[str]:
    """Return the names of the settings that a collection stores, unless they are secret."""
    return function_class.model_fields.keys() - MultiModalEmbeddingFunction.model_fields.keys()


def stored_settings(function: MultiModalEmbeddingFunction) -> dict[str, Any]:
    """Return the settings that a collection stores, as JSON, without secrets and options.

    Raises:
        ValueError: A setting cannot be written as JSON.
    """
    public: dict[str, Any] = _public(function.model_dump(include=stored_names(type(function))))
    return {key: to_jsonable_python(value) for key, value in public.items()}


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _public(v) for k, v in value.items() if not _is_secret(str(k), v)}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value if not _is_hidden(each)]
    return strip_userinfo(value)


def _is_secret(name: str, value: object) -> bool:
    if _is_hidden(value):
        return True
    # A number with such a name is not a secret: `max_token`.
    return is_secret_name(name) and not isinstance(value, bool | int | float | None)


def _is_hidden(value: object) -> bool:
    return isinstance(value, SecretStr | SecretBytes)
