"""Embedding functions with a model in this process, and the models that they share."""

from __future__ import annotations

import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import orjson

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction, Purpose
from pgchroma.embeddings.protocol import Embeddable
from pgchroma.errors import EmbeddingError

__all__ = ("MODEL_BATCH", "LocalEmbeddingFunction", "without_token")

MODEL_BATCH = 32
"""The inputs of a model's batch, unless the options set it. It is the packages' default."""

D = TypeVar("D", bound=Embeddable)


class LocalEmbeddingFunction(BatchedEmbeddingFunction[D]):
    """Embeds with a model in this process. A subclass implements `load` and `embed_with`.

    The first call loads the model. Functions of one class with the same settings share it. Calls of
    several threads run one after the other, because a model uses all processors, and two threads
    cannot share its tokenizer.
    """

    # Larger than a model's batch, because the packages sort inputs by length.
    batch_size: ClassVar[int] = 8 * MODEL_BATCH

    @abstractmethod
    def load(self) -> Any:
        """Load the model."""

    @abstractmethod
    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Return the embeddings of one batch, in its order, as a matrix or a list of vectors."""

    @abstractmethod
    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""

    @property
    def model_batch(self) -> int:
        """The number of inputs of the model's batch."""
        return self.options.batch_size or MODEL_BATCH

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch.

        Raises:
            EmbeddingError: The model cannot be loaded, or failed.
        """
        shared = self._shared_model()
        with shared.lock:
            try:
                return self.embed_with(shared.model, batch, purpose)
            except Exception as error:
                raise EmbeddingError(f"{self.name()} failed: {_described(error)}") from error

    def _shared_model(self) -> _SharedModel:
        settings = self.model_settings()
        key = type(self), orjson.dumps(settings, option=orjson.OPT_SORT_KEYS, default=repr)
        try:
            return _loaded_models.get(key, self.load)
        except Exception as error:
            model = getattr(self, self.model_parameter or "", None)
            raise EmbeddingError(
                f"{self.name()} could not load {model!r}: {_described(error)}"
            ) from error


@dataclass(slots=True)
class _SharedModel:
    model: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class ModelCache:
    """The models of this process. Each is loaded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[object, _SharedModel] = {}

    def get(self, key: object, load: Callable[[], Any]) -> _SharedModel:
        if key not in self._models:
            with self._lock:
                if key not in self._models:
                    self._models[key] = _SharedModel(load())
        return self._models[key]

    def survive_fork(self) -> None:
        """Make the models usable in a forked child.

        PyTorch's threads do not exist there, and the child would wait for them forever, so it uses
        one thread. The locks are replaced, because other threads may have held them.
        """
        self._lock = threading.Lock()
        if self._models and (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
        for shared in self._models.values():
            shared.lock = threading.Lock()


_loaded_models = ModelCache()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loaded_models.survive_fork)


def without_token(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the tokens for downloads, at any depth."""
    return {
        key: without_token(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in ("token", "use_auth_token")
    }


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
