"""Sparse encoders of the package sentence-transformers, such as SPLADE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pgchroma.embeddings.calls.batched import check_primitives
from pgchroma.embeddings.providers.local import without_token
from pgchroma.embeddings.sparse.protocol import normalize_sparse_vector
from pgchroma.embeddings.sparse.tasked import Task, TaskedSparseFunction
from pgchroma.extras import check_installed, load_extra
from pgchroma.model.sparse import SparseVector, SparseVectors

__all__ = ("HuggingFaceSparseEmbeddingFunction",)

_EXTRA = "sentence-transformers"


class HuggingFaceSparseEmbeddingFunction(TaskedSparseFunction):
    """Embeds texts with a ``SparseEncoder``, which the first call loads."""

    def __init__(
        self,
        model_name: str,
        device: str,
        task: Task | None = "document",
        query_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Choose the model.

        Args:
            model_name: The model's name or directory, such as ``naver/splade-v3``.
            device: The device of the model, such as ``cpu``.
            task: Whether texts are ``document`` or ``query``.
            query_config: ``{"task": …}`` for queries.
            kwargs: More arguments of ``SparseEncoder``.

        Raises:
            ValueError: sentence-transformers is not installed, a task is invalid, or a
                further argument is not a JSON value.
        """
        check_installed("sentence_transformers", extra=_EXTRA)
        check_primitives(kwargs)
        self._set_tasks(task, query_config)
        self.model_name = model_name
        self.device = device
        self.kwargs = kwargs

    def _load(self) -> Any:
        module = load_extra("sentence_transformers", _EXTRA)
        return module.SparseEncoder(self.model_name, device=self.device, **self.kwargs)

    def _encode(self, model: Any, texts: list[str], task: Task) -> SparseVectors:
        encode = model.encode_document if task == "document" else model.encode_query
        # Dense rows, because they have the same form for every model.
        rows = encode(texts, convert_to_tensor=True, show_progress_bar=False).to_dense()
        return [_sparse(row) for row in rows.float().cpu().numpy()]

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "huggingface_sparse"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except tokens."""
        return {
            "model_name": self.model_name,
            "device": self.device,
            "task": self.task,
            "query_config": self.query_config,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> HuggingFaceSparseEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        settings = {**config}
        return HuggingFaceSparseEmbeddingFunction(
            **(settings.pop("kwargs", None) or {}), **settings
        )


def _sparse(row: Any) -> SparseVector:
    (indices,) = np.nonzero(row)
    return normalize_sparse_vector(indices.tolist(), row[indices].tolist())
