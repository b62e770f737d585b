"""Embedding functions whose model runs in this process, and the models that they share."""

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
"""The inputs that go through a model at a time, unless the user says; the packages' own default."""

D = TypeVar("D", bound=Embeddable)


class LocalEmbeddingFunction(BatchedEmbeddingFunction[D]):
    """Embeds with a model of this process; a subclass writes `load` and `embed_with`.

    The model is loaded at the first call, and once for all functions of a class that ask for the
    same one. Calls of several threads take turns: a model uses all processors for one, and its
    tokenizer cannot be used by two.
    """

    # More than go through a model at a time: the packages sort what they are given by length.
    batch_size: ClassVar[int] = 8 * MODEL_BATCH

    @abstractmethod
    def load(self) -> Any:
        """Load the model."""

    @abstractmethod
    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch with the loaded model: a matrix, or a list of vectors, in its order."""

    @abstractmethod
    def model_settings(self) -> Mapping[str, Any]:
        """Return what decides which model is loaded, and how."""

    @property
    def model_batch(self) -> int:
        """The inputs that go through the model at a time."""
        return self.options.batch_size or MODEL_BATCH

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch.

        Raises:
            EmbeddingError: The model cannot be loaded, or has failed.
        """
        shared = self._shared_model()
        with shared.lock:
            try:
                return self.embed_with(shared.model, batch, purpose)
            except Exception as error:
                raise EmbeddingError(f"{self.name()} failed: {_words(error)}") from error

    def _shared_model(self) -> _SharedModel:
        settings = self.model_settings()
        key = type(self), orjson.dumps(settings, option=orjson.OPT_SORT_KEYS, default=repr)
        try:
            return _loaded_models.get(key, self.load)
        except Exception as error:
            model = getattr(self, self.model_parameter or "", None)
            raise EmbeddingError(
                f"{self.name()} could not load {model!r}: {_words(error)}"
            ) from error


@dataclass(slots=True)
class _SharedModel:
    model: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class ModelCache:
    """The models of this process, each loaded once and kept."""

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

        The threads that PyTorch computes with are not there any more, and the child would wait for
        them for ever; so it computes with its own alone. The locks may have been held by others.
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
    """Leave out, at any depth, the tokens that models are downloaded with."""
    return {
        key: without_token(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in ("token", "use_auth_token")
    }


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
