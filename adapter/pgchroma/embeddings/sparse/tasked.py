"""Sparse models on this machine that embed queries and documents differently."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from pgchroma.embeddings.calls.batched import check_texts
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.model.sparse import SparseVectors

__all__ = ("Task", "TaskConfig", "TaskedSparseFunction")

Task: TypeAlias = Literal["document", "query"]


class TaskConfig(TypedDict):
    """The settings of queries."""

    task: Task


class TaskedSparseFunction(SparseEmbeddingFunction[Documents]):
    """Embeds with a model that the first call loads. A subclass loads and calls it.

    Attributes:
        task: Whether texts are embedded as documents or as queries.
        query_config: The settings of queries. `None` means that queries are embedded as ``task``.
    """

    task: Task
    query_config: Mapping[str, Any] | None
    _model: Any = None

    def _set_tasks(self, task: Task | None, query_config: Mapping[str, Any] | None) -> None:
        self.task = "document" if task is None else _checked_task("task", task)
        if query_config is not None:
            _checked_task("query_config.task", query_config.get("task"))
        self.query_config = query_config
        self._loading = threading.Lock()

    @abstractmethod
    def _load(self) -> Any:
        """Load the model."""

    @abstractmethod
    def _encode(self, model: Any, texts: list[str], task: Task) -> SparseVectors:
        """Embed texts with the model."""

    def __call__(self, input: Documents) -> SparseVectors:
        """Return a sparse vector for each text according to the task, in their order.

        Raises:
            ValueError: The input is not a list of texts, or is empty.
        """
        return self._embed(input, self.task)

    def embed_query(self, input: Documents) -> SparseVectors:
        """Embed queries with the settings of queries."""
        return self._embed(input, (self.query_config or {}).get("task", self.task))

    def _embed(self, input: Documents, task: Task) -> SparseVectors:
        check_texts(input)
        with self._loading:
            if self._model is None:
                self._model = self._load()
        return self._encode(self._model, list(input), task)


def _checked_task(setting: str, task: Any) -> Task:
    if task not in ("document", "query"):
        raise ValueError(f"{setting} must be document or query, got {task!r:.80}")
    checked: Task = task
    return checked
