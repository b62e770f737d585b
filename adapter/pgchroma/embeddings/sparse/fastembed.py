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
    """Weighs words as ``Qdrant/bm25`` does; Chroma's own ``chroma_bm25`` has taken its place.

    The lists of words that do not count are downloaded upon the first use.
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
        """Choose the weights; what is None is as fastembed has it.

        Args:
            avg_len: The words of an average document.
            task: Whether texts are ``document`` or ``query``.
            cache_dir: Where downloads are kept.
            k: How much a word's later occurrences count.
            b: How much the length of a text counts, from 0 to 1.
            language: Of the stemmer and of the words that do not count.
            token_max_length: The characters of the longest word that counts.
            disable_stemmer: Whether words count as they are, and all of them.
            specific_model_path: A directory with the lists of words that do not count, such as
                ``english.txt``; then nothing is downloaded.
            query_config: ``{"task": …}`` for what is searched for.
            kwargs: Further arguments of fastembed's ``Bm25``.

        Raises:
            ValueError: fastembed is not installed, a task is none, or a further argument is no JSON
                value.
        """
        warnings.warn(
            "Bm25EmbeddingFunction is deprecated. Please use ChromaBm25EmbeddingFunction instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        check_installed("fastembed", extra="fastembed")
        check_primitives(kwargs)
        self._take_tasks(task, query_config)
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
        given = {key: value for key, value in settings.items() if value is not None}
        module = load_extra("fastembed.sparse.bm25", "fastembed")
        return module.Bm25(model_name="Qdrant/bm25", **given)

    @staticmethod
    def name() -> str:
        """The name in the registry."""
        return "bm25"

    def get_config(self) -> dict[str, Any]:
        """All the settings but a token."""
        return {
            "task": self.task,
            "query_config": self.query_config,
            **self._settings,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Bm25EmbeddingFunction:
        """Make the function again from what ``get_config`` gave."""
        settings = {**config}
        return Bm25EmbeddingFunction(**(settings.pop("kwargs", None) or {}), **settings)


class FastembedSparseEmbeddingFunction(_FastembedFunction):
    """Embeds texts with a sparse model that fastembed knows, downloaded upon its first use."""

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
        """Choose the model; what is None is as fastembed has it.

        Args:
            model_name: The model, such as ``prithivida/Splade_PP_en_v1``.
            task: Whether texts are ``document`` or ``query``.
            cache_dir: Where downloads are kept.
            threads: How many threads a session uses.
            cuda: Whether it runs on a graphics card.
            device_ids: Which graphics cards.
            lazy_load: Whether a process that embeds in parallel loads the model itself.
            query_config: ``{"task": …}`` for what is searched for.
            kwargs: Further arguments of fastembed's ``SparseTextEmbedding``.

        Raises:
            ValueError: fastembed is not installed, a task is none, or a further argument is no JSON
                value.
        """
        check_installed("fastembed", extra="fastembed")
        check_primitives(kwargs)
        self._take_tasks(task, query_config)
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
        given = {key: value for key, value in self._settings.items() if value is not None}
        module = load_extra("fastembed", "fastembed")
        return module.SparseTextEmbedding(self.model_name, **given, **self.kwargs)

    @staticmethod
    def name() -> str:
        """The name in the registry."""
        return "fastembed_sparse"

    def get_config(self) -> dict[str, Any]:
        """All the settings but a token."""
        return {
            "model_name": self.model_name,
            "task": self.task,
            "query_config": self.query_config,
            **self._settings,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> FastembedSparseEmbeddingFunction:
        """Make the function again from what ``get_config`` gave."""
        settings = {**config}
        return FastembedSparseEmbeddingFunction(**(settings.pop("kwargs", None) or {}), **settings)
