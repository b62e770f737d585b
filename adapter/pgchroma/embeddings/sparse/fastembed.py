"""Sparse functions of the package fastembed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from pgchroma.embeddings.calls.batched import check_primitives
from pgchroma.embeddings.providers.local import without_token
from pgchroma.embeddings.sparse.protocol import normalize_sparse_vector
from pgchroma.embeddings.sparse.tasked import Task, TaskedSparseFunction
from pgchroma.extras import check_installed, load_extra
from pgchroma.model.sparse import SparseVectors

__all__ = ("Bm25EmbeddingFunction", "FastembedSparseEmbeddingFunction")


class _FastembedFunction(TaskedSparseFunction):
    def _encode(self, model: Any, texts: list[str], task: Task) -> SparseVectors:
        made = model.embed(texts) if task == "document" else model.query_embed(texts)
        return [
            normalize_sparse_vector(each.indices.tolist(), each.values.tolist()) for each in made
        ]


class Bm25EmbeddingFunction(_FastembedFunction):
    """Weights words like ``Qdrant/bm25``. Chroma's own ``chroma_bm25`` has replaced it.

    The first call downloads the lists of stopwords.
    """

    def __init__(
        self,
        avg_len: float | None = None,
        task: Task | None = "document",
        cache_dir: str | None = None,
        k: float | None = None,
        b: float | None = None,
        language: str | None = None,
        token_max_length: int | None = None,
        disable_stemmer: bool | None = None,
        specific_model_path: str | None = None,
        query_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Choose the weights. `None` means fastembed's default.

        Args:
            avg_len: The number of words of an average document.
            task: Whether texts are ``document`` or ``query``.
            cache_dir: The directory of downloads.
            k: The weight of a word's repetitions.
            b: The weight of a text's length, from 0 to 1.
            language: The language of the stemmer and of the stopwords.
            token_max_length: The maximum characters of a word. Longer words are ignored.
            disable_stemmer: Whether to use all words without stemming.
            specific_model_path: A directory with the lists of stopwords, such as ``english.txt``.
                With it, nothing is downloaded.
            query_config: ``{"task": …}`` for queries.
            kwargs: More arguments of fastembed's ``Bm25``.

        Raises:
            ValueError: fastembed is not installed, a task is invalid, or another argument is not a
                JSON value.
        """
        warnings.warn(
            "Bm25EmbeddingFunction is deprecated. Please use ChromaBm25EmbeddingFunction instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        check_installed("fastembed", extra="fastembed")
        check_primitives(kwargs)
        self._set_tasks(task, query_config)
        self._settings = {
            "cache_dir": cache_dir,
            "k": k,
            "b": b,
            "avg_len": avg_len,
            "language": language,
            "token_max_length": token_max_length,
            "disable_stemmer": disable_stemmer,
            "specific_model_path": specific_model_path,
        }
        self.kwargs = kwargs

    def _load(self) -> Any:
        settings = {**self._settings, **self.kwargs}
        arguments = {key: value for key, value in settings.items() if value is not None}
        module = load_extra("fastembed.sparse.bm25", "fastembed")
        return module.Bm25(model_name="Qdrant/bm25", **arguments)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "bm25"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except tokens."""
        return {
            "task": self.task,
            "query_config": self.query_config,
            **self._settings,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Bm25EmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        settings = {**config}
        return Bm25EmbeddingFunction(**(settings.pop("kwargs", None) or {}), **settings)


class FastembedSparseEmbeddingFunction(_FastembedFunction):
    """Embeds texts with a sparse model of fastembed, which the first call downloads."""

    def __init__(
        self,
        model_name: str,
        task: Task | None = "document",
        cache_dir: str | None = None,
        threads: int | None = None,
        cuda: bool | None = None,
        device_ids: list[int] | None = None,
        lazy_load: bool | None = None,
        query_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Choose the model. `None` means fastembed's default.

        Args:
            model_name: The model, such as ``prithivida/Splade_PP_en_v1``.
            task: Whether texts are ``document`` or ``query``.
            cache_dir: The directory of downloads.
            threads: The number of threads of a session.
            cuda: Whether to use a GPU.
            device_ids: The GPUs to use.
            lazy_load: Whether each parallel process loads the model itself.
            query_config: ``{"task": …}`` for queries.
            kwargs: More arguments of fastembed's ``SparseTextEmbedding``.

        Raises:
            ValueError: fastembed is not installed, a task is invalid, or another argument is not a
                JSON value.
        """
        check_installed("fastembed", extra="fastembed")
        check_primitives(kwargs)
        self._set_tasks(task, query_config)
        self.model_name = model_name
        self._settings = {
            "cache_dir": cache_dir,
            "threads": threads,
            "cuda": cuda,
            "device_ids": device_ids,
            "lazy_load": lazy_load,
        }
        self.kwargs = kwargs

    def _load(self) -> Any:
        arguments = {key: value for key, value in self._settings.items() if value is not None}
        module = load_extra("fastembed", "fastembed")
        return module.SparseTextEmbedding(self.model_name, **arguments, **self.kwargs)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "fastembed_sparse"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except tokens."""
        return {
            "model_name": self.model_name,
            "task": self.task,
            "query_config": self.query_config,
            **self._settings,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> FastembedSparseEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        settings = {**config}
        return FastembedSparseEmbeddingFunction(**(settings.pop("kwargs", None) or {}), **settings)
