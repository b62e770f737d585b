"""The base class of embedding functions that work in batches, local or remote."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

import orjson

from pgchroma.embeddings.calls.cache import class_identity
from pgchroma.embeddings.calls.options import OPTION_NAMES, Options
from pgchroma.embeddings.calls.runner import BatchRunner, runner_of
from pgchroma.embeddings.lancedb.fields import LanceDBMethods
from pgchroma.embeddings.protocol import Embeddable, EmbeddingFunction, Embeddings, Space

if TYPE_CHECKING:
    from collections.abc import Sequence
from pgchroma.embeddings.variables import resolve_variables

__all__ = (
    "BatchedEmbeddingFunction",
    "Purpose",
    "check_primitives",
    "check_texts",
    "refuse_changes",
)

Purpose: TypeAlias = Literal["document", "query"]
"""The purpose of an embedding. Some models embed queries in another way than documents."""

D = TypeVar("D", bound=Embeddable)


class BatchedEmbeddingFunction(LanceDBMethods, EmbeddingFunction[D]):
    """Embeds any number of inputs with `embed_batch`, which a subclass implements for one batch.

    The constructor of a subclass is Chroma's and sets the model. `with_options` sets how the
    function is called.
    """

    batch_size: ClassVar[int] = 100
    """The maximum number of inputs of a batch, unless the options set it."""

    concurrency: ClassVar[int] = 1
    """The maximum number of concurrent batches, unless the options set it."""

    max_batch_bytes: ClassVar[int | None] = None
    """The maximum bytes of a batch of texts or arrays."""

    model_parameter: ClassVar[str | None] = "model_name"
    """The argument of the constructor that `create` calls ``name``."""

    created_model: ClassVar[str | None] = None
    """The default model of `create`, if it differs from the constructor's."""

    created_names: ClassVar[Mapping[str, str]] = {}
    """LanceDB's names of arguments, and the constructor's."""

    dimensions_of: ClassVar[Mapping[str, int]] = {}
    """The length of the embeddings of well-known models, by name."""

    _options: Options = Options()
    _runner: BatchRunner | None = None

    @abstractmethod
    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Return the embeddings of one batch, in its order, as a matrix or a list of vectors.

        Raises:
            EmbeddingError: The batch cannot be embedded. `is_transient` is whether to retry.
        """

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way.

        Args:
            settings: ``name`` for the model, the options of `Options`, such as ``max_retries`` and
                ``batch_size``, and the arguments of the constructor.

        Raises:
            TypeError: A setting is unknown.
            ValueError: A value is not allowed, or names a variable that is not set.
        """
        settings = {
            cls.created_names.get(key, key): value
            for key, value in resolve_variables(settings).items()
        }
        options = {key: settings.pop(key) for key in OPTION_NAMES & settings.keys()}
        # If an argument and an option have the same name, the argument takes precedence.
        accepted = inspect.signature(cls).parameters
        for key in options.keys() & accepted.keys():
            settings[key] = options.pop(key)
        if "api_key" in accepted:
            # Some of Chroma's constructors require it, even if the key is in the environment.
            settings.setdefault("api_key", None)
        if cls.model_parameter is not None:
            if "name" in settings:
                settings[cls.model_parameter] = settings.pop("name")
            elif cls.created_model is not None:
                settings.setdefault(cls.model_parameter, cls.created_model)
        takes_any = any(each.kind is each.VAR_KEYWORD for each in accepted.values())
        if not takes_any and (unknown := settings.keys() - accepted.keys()):
            known = sorted({"name", *accepted, *OPTION_NAMES})
            raise TypeError(
                f"{cls.__name__} has no setting {', '.join(sorted(unknown))}, expected "
                f"{', '.join(known)}"
            )
        return cls(**settings).with_options(**options)

    def with_options(self, **options: Any) -> Self:
        """Return a copy with other options; see `Options`.

        Raises:
            TypeError: An option is unknown.
            ValueError: A value is out of range, or `cache` is set and the function has no settings
                to distinguish it from others.
        """
        changed = copy.copy(self)
        changed._options = replace(self._options, **options)
        changed._runner = None
        if changed._options.cache is not None and changed.get_config() is NotImplemented:
            raise ValueError(
                f"cache: {type(self).__name__} has no get_config, so it would get the cached "
                "embeddings of functions with other settings; implement get_config"
            )
        return changed

    @property
    def options(self) -> Options:
        """The options that the function is called with."""
        return self._options

    def __call__(self, input: D) -> Embeddings:
        """Embed documents to store: one float32 array each, in their order.

        Raises:
            ValueError: The function cannot embed an input of this type.
            EmbeddingError: Embedding failed.
        """
        return self._embed(input, "document")

    def embed_query(self, input: D) -> Embeddings:
        """Embed queries. Arguments and errors are those of a call."""
        return self._embed(input, "query")

    def ndims(self) -> int:
        """Return the length of this function's embeddings. If it is unknown, embed a text."""
        model = getattr(self, self.model_parameter or "", None)
        known = self.requested_dimensions() or self.dimensions_of.get(str(model))
        return known if isinstance(known, int) else super().ndims()

    def requested_dimensions(self) -> int | None:
        """Return the length of embeddings to request. `None` means the model's default."""
        return getattr(self, "dimensions", None)

    def default_space(self) -> Space:
        """Return the distance of new collections. Most models are trained for cosine."""
        return "cosine"

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise `ValueError` if the function cannot embed one of the inputs."""
        check_texts(inputs)

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Return the maximum number of these inputs in a call. `None` means no special limit."""
        return None

    def embeds_jointly(self, purpose: Purpose) -> bool:
        """Whether each embedding depends on the other inputs, so that one call gets all of them."""
        return False

    def _embed(self, inputs: Any, purpose: Purpose) -> Embeddings:
        self.check_inputs(inputs)
        embed = partial(self.embed_batch, purpose=purpose)
        if inputs and self.embeds_jointly(purpose):
            return self._batch_runner().run_together(embed, inputs)
        identity = partial(self._identity, purpose)
        return self._batch_runner().run(embed, inputs, identity, self.max_inputs(inputs))

    def _batch_runner(self) -> BatchRunner:
        return runner_of(
            self,
            lambda: BatchRunner(
                self._options,
                name=self.name(),
                batch_size=self.batch_size,
                concurrency=self.concurrency,
                max_batch_bytes=self.max_batch_bytes,
            ),
        )

    def _identity(self, purpose: Purpose) -> str:
        settings = orjson.dumps(self.get_config(), option=orjson.OPT_SORT_KEYS, default=repr)
        parts = self.name(), class_identity(type(self)), settings.decode(), purpose
        return "\x00".join(map(str, parts))


def check_texts(inputs: object) -> None:
    """Raise `ValueError` unless the inputs are a list of texts. The message has the position."""
    if not isinstance(inputs, list | tuple):
        raise ValueError(
            f"Expected documents to be a list of strings, got {type(inputs).__name__}: "
            f"{inputs!r:.80}"
        )
    for position, value in enumerate(inputs):
        if not isinstance(value, str):
            raise ValueError(
                f"Expected documents to be a list of strings, got {type(value).__name__} at "
                f"position {position}"
            )


def check_primitives(kwargs: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless all arguments can be stored as JSON."""
    for key, value in kwargs.items():
        if not isinstance(value, str | int | float | bool | list | dict | tuple):
            raise ValueError(f"Keyword argument {key} is not a primitive type")


def refuse_changes(
    old_config: Mapping[str, Any], new_config: Mapping[str, Any], *keys: str
) -> None:
    """Raise `ValueError` if one of the settings changes, which would change embeddings."""
    for key in keys:
        if key in new_config and new_config[key] != old_config.get(key):
            setting = "model name" if key in ("model", "model_name") else key.replace("_", " ")
            raise ValueError(
                f"The {setting} cannot be changed after the embedding function has been "
                "initialized."
            )
