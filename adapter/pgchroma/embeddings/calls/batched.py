"""The base of embedding functions that work in batches, whoever computes them."""

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
"""What an embedding is for; some models embed what is searched for in another way."""

D = TypeVar("D", bound=Embeddable)


class BatchedEmbeddingFunction(LanceDBMethods, EmbeddingFunction[D]):
    """Embeds any number of inputs by `embed_batch`, which a subclass writes and which takes some.

    What a subclass embeds with is set by its constructor, which is Chroma's; how it is called, by
    `with_options`.
    """

    batch_size: ClassVar[int] = 100
    """The most inputs of a batch, unless the user says."""

    concurrency: ClassVar[int] = 1
    """The most batches at a time, unless the user says."""

    max_batch_bytes: ClassVar[int | None] = None
    """The most bytes of a batch of texts, or of arrays."""

    model_parameter: ClassVar[str | None] = "model_name"
    """The argument of the constructor that `create` calls ``name``."""

    created_model: ClassVar[str | None] = None
    """The model `create` takes by default, where that is not the constructor's."""

    created_names: ClassVar[Mapping[str, str]] = {}
    """LanceDB's names of arguments, to those of the constructor."""

    dimensions_of: ClassVar[Mapping[str, int]] = {}
    """The length of the embeddings of well-known models, by name."""

    _options: Options = Options()
    _runner: BatchRunner | None = None

    @abstractmethod
    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch: a matrix, or a list of vectors, in its order.

        Raises:
            EmbeddingError: It cannot be done; `is_transient` says whether to try again.
        """

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Make the function as the registry does it.

        Args:
            settings: ``name``, the model; the options of `Options`, such as ``max_retries`` and
                ``batch_size``; and what the constructor takes.

        Raises:
            TypeError: A setting is none of these.
            ValueError: A value is not allowed, or names a variable that is not set.
        """
        settings = {
            cls.created_names.get(key, key): value
            for key, value in resolve_variables(settings).items()
        }
        options = {key: settings.pop(key) for key in OPTION_NAMES & settings.keys()}
        # Of an argument and an option of one name, the constructor's own is meant.
        accepted = inspect.signature(cls).parameters
        for key in options.keys() & accepted.keys():
            settings[key] = options.pop(key)
        if "api_key" in accepted:
            # Some of Chroma's constructors want to be told that the key is in the environment.
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
                f"{cls.__name__} has no setting {', '.join(sorted(unknown))}; it has "
                f"{', '.join(known)}"
            )
        return cls(**settings).with_options(**options)

    def with_options(self, **options: Any) -> Self:
        """Return a copy that is called otherwise; see `Options`.

        Raises:
            TypeError: There is no such option.
            ValueError: A value is out of bounds, or `cache` is asked for and the function does not
                say what it embeds with.
        """
        changed = copy.copy(self)
        changed._options = replace(self._options, **options)
        changed._runner = None
        if changed._options.cache is not None and changed.get_config() is NotImplemented:
            raise ValueError(
                f"{type(self).__name__} cannot have a cache: as it has no get_config, it would get "
                "the embeddings of a function with other settings"
            )
        return changed

    @property
    def options(self) -> Options:
        """How the function is called."""
        return self._options

    def __call__(self, input: D) -> Embeddings:
        """Embed what is to be stored; one float32 array each, in their order.

        Raises:
            ValueError: The input is not what this function embeds.
            EmbeddingError: It could not be embedded.
        """
        return self._embed(input, "document")

    def embed_query(self, input: D) -> Embeddings:
        """Embed what is searched for; takes and raises what a call does."""
        return self._embed(input, "query")

    def ndims(self) -> int:
        """The length of this function's embeddings; unless it is known, one is made."""
        model = getattr(self, self.model_parameter or "", None)
        known = self.requested_dimensions() or self.dimensions_of.get(str(model))
        return known if isinstance(known, int) else super().ndims()

    def requested_dimensions(self) -> int | None:
        """The length of embeddings that the model is asked for; None: its own."""
        return getattr(self, "dimensions", None)

    def default_space(self) -> Space:
        """Most models are made for the angle between their embeddings."""
        return "cosine"

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise ValueError unless all inputs are what this function embeds."""
        check_texts(inputs)

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """The most of these inputs that a call can take; None: as many as of any."""
        return None

    def embeds_jointly(self, purpose: Purpose) -> bool:
        """Whether each input is embedded in the light of the others, so that all go together."""
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
    """Raise ValueError unless this is a list of texts; the message says what stands where."""
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
    """Raise ValueError unless all these arguments can be stored as JSON."""
    for key, value in kwargs.items():
        if not isinstance(value, str | int | float | bool | list | dict | tuple):
            raise ValueError(f"Keyword argument {key} is not a primitive type")


def refuse_changes(
    old_config: Mapping[str, Any], new_config: Mapping[str, Any], *keys: str
) -> None:
    """Raise ValueError if a setting changes that decides what embeddings mean."""
    for key in keys:
        if key in new_config and new_config[key] != old_config.get(key):
            what = "model name" if key in ("model", "model_name") else key.replace("_", " ")
            raise ValueError(
                f"The {what} cannot be changed after the embedding function has been initialized."
            )
