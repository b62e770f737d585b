"""Embedding functions written as LanceDB's are: a pydantic model whose fields are the settings."""

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
"""The most inputs of one call, unless the user says."""


class MultiModalEmbeddingFunction(LanceDBMethods, BaseModel):
    """Embeds texts, images and whatever else a model takes.

    The fields of a subclass are its settings. A collection that was made with it keeps them, but
    for those that are secret: of the type `SecretStr`, or texts named like ``api_key``.
    """

    # `model_name` is a good name for a setting, and a key must not stand in an error's text.
    model_config = ConfigDict(
        protected_namespaces=(),
        ignored_types=(cached_property,),
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        extra="forbid",
    )

    max_retries: int = Field(default=7, ge=0)
    """How often a call that failed for a passing reason is tried again."""

    _option_names: ClassVar[frozenset[str]] = frozenset()
    """What `create` takes besides the fields: nobody calls this but its user."""

    _options: Options = PrivateAttr(default_factory=Options)
    _runner: BatchRunner | None = PrivateAttr(default=None)

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Make the function.

        Args:
            settings: Its fields; of a `TextEmbeddingFunction` what can be asked of any, see
                `Options`; and ``name``, which is the field ``model_name`` unless there is a field
                ``name``.

        Raises:
            TypeError: A setting is none of these.
            ValueError: A setting's value is not allowed.
        """
        settings = resolve_variables(settings)
        fields = cls.model_fields
        if "name" in settings and "name" not in fields and "model_name" in fields:
            settings["model_name"] = settings.pop("name")
        asked = cls._option_names - fields.keys() & settings.keys()
        options = {key: settings.pop(key) for key in asked}
        known = fields.keys() | {field.alias for field in fields.values() if field.alias}
        unknown = settings.keys() - known
        if unknown and cls.model_config.get("extra") != "allow":
            raise TypeError(
                f"{cls.__name__} has no setting {', '.join(sorted(unknown))}; it has "
                f"{', '.join(sorted(fields.keys() | cls._option_names))}"
            )
        made = cls(**settings)
        made._options = replace(made._options, **options)
        return made

    @abstractmethod
    def ndims(self) -> int:
        """Return the length of the embeddings."""

    @abstractmethod
    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed what is to be stored, such as texts, images or their URIs: one vector each."""

    @abstractmethod
    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed one thing that is searched for; return a list with its vector."""

    def default_space(self) -> Space:
        """The distance that a collection of this function's embeddings gets."""
        return "l2"

    def sanitize_input(self, given: Any) -> list[Any]:
        """Make a list of one input, or of a column of them: of pandas, pyarrow or numpy."""
        return as_inputs(given)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What a repr shows, which is no secret."""
        for key, value in super().__repr_args__():
            if key is None or not _is_secret(key, value):
                yield key, _public(value)


class TextEmbeddingFunction(MultiModalEmbeddingFunction):
    """Embeds texts by `generate_embeddings`, which a subclass writes.

    It is called with batches, and again where a call failed for a passing reason: a lost
    connection, a status such as 429 or 503, an `EmbeddingError` that says so.
    """

    _option_names: ClassVar[frozenset[str]] = OPTION_NAMES

    @abstractmethod
    def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed one batch of texts: a matrix, or a list of vectors, in its order."""

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed texts to be stored: one, or a list, an array or a series of them.

        Raises:
            ValueError: They are no texts.
            EmbeddingError: A call failed for good, or did not give one embedding for each text.
        """
        inputs = self.sanitize_input(texts)
        check_texts(inputs)
        return self._batch_runner().run(self.generate_embeddings, inputs, self._identity)

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed what is searched for; the same as what is stored, unless overridden."""
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
    """Return the names of the settings that a collection keeps, if they are no secrets."""
    return function_class.model_fields.keys() - MultiModalEmbeddingFunction.model_fields.keys()


def stored_settings(function: MultiModalEmbeddingFunction) -> dict[str, Any]:
    """Return the settings that a collection keeps: all as JSON, but secrets and how to call.

    Raises:
        ValueError: A setting has no form in JSON.
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
    # A number of that name is none: `max_token`.
    return is_secret_name(name) and not isinstance(value, bool | int | float | None)


def _is_hidden(value: object) -> bool:
    return isinstance(value, SecretStr | SecretBytes)
