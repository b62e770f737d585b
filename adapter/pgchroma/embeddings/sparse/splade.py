"""Chroma Cloud's SPLADE, over HTTP."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, Self

from pgchroma.embeddings.calls.batched import check_texts
from pgchroma.embeddings.calls.options import OPTION_NAMES, Options
from pgchroma.embeddings.calls.runner import BatchRunner, runner_of
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import ask, field
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction, normalize_sparse_vector
from pgchroma.errors import EmbeddingError
from pgchroma.model.sparse import SparseVector, SparseVectors

__all__ = ("ChromaCloudSpladeEmbeddingFunction", "ChromaCloudSpladeEmbeddingModel")

_BATCH_SIZE = 100
_MAX_BYTES = 1_000_000
_CONCURRENCY = 8
_SUPPORTED_OPTIONS = OPTION_NAMES - {"cache"}


class ChromaCloudSpladeEmbeddingModel(StrEnum):
    """The models of Chroma Cloud."""

    SPLADE_PP_EN_V1 = "prithivida/Splade_PP_en_v1"


class ChromaCloudSpladeEmbeddingFunction(SparseEmbeddingFunction[Documents]):
    """Embeds texts with Chroma Cloud, or with the server at ``CHROMA_EMBED_URL``."""

    _options = Options()
    _runner: BatchRunner | None = None

    def __init__(
        self,
        api_key_env_var: str = "CHROMA_API_KEY",
        model: ChromaCloudSpladeEmbeddingModel | str = (
            ChromaCloudSpladeEmbeddingModel.SPLADE_PP_EN_V1
        ),
        include_tokens: bool = False,
    ) -> None:
        """Choose the model.

        Args:
            api_key_env_var: The environment variable of the key.
            model: The model.
            include_tokens: Whether vectors have their tokens as labels.

        Raises:
            ValueError: The key is missing, or the model is unknown.
        """
        self._key = ApiKey(None, api_key_env_var)
        self.model = ChromaCloudSpladeEmbeddingModel(model)
        self.include_tokens = bool(include_tokens)

    def with_options(self, **options: Any) -> Self:
        """Return a copy with other options; see `Options`.

        Raises:
            TypeError: An option is unknown, or sparse functions do not have it.
            ValueError: A value is out of range.
        """
        if unknown := options.keys() - _SUPPORTED_OPTIONS:
            raise TypeError(
                f"{self.name()} has no option {', '.join(sorted(unknown))}, expected "
                f"{', '.join(sorted(_SUPPORTED_OPTIONS))}"
            )
        changed = copy.copy(self)
        changed._options = replace(self._options, **options)
        changed._runner = None
        return changed

    def __call__(self, input: Documents) -> SparseVectors:
        """Return a sparse vector for each text, in their order.

        Raises:
            ValueError: The input is not a list of texts, or is empty.
            EmbeddingError: Embedding failed.
        """
        check_texts(input)
        return self._batch_runner().gather(self._ask, input)

    def _batch_runner(self) -> BatchRunner:
        return runner_of(
            self,
            lambda: BatchRunner(
                self._options,
                name=self.name(),
                batch_size=_BATCH_SIZE,
                concurrency=_CONCURRENCY,
                max_batch_bytes=_MAX_BYTES,
            ),
        )

    def _ask(self, texts: list[str]) -> SparseVectors:
        base = os.environ.get("CHROMA_EMBED_URL") or "https://embed.trychroma.com"
        body = {
            "texts": texts,
            "task": "",
            "target": "",
            "fetch_tokens": "true" if self.include_tokens else "false",
        }
        headers = {
            "x-chroma-token": self._key.get_secret(),
            "x-chroma-embedding-model": self.model.value,
        }
        url = f"{base.rstrip('/')}/embed_sparse"
        answer = ask(self.name(), url, body, headers, self._options.timeout)
        rows = field(self.name(), answer, "embeddings")
        if not isinstance(rows, list) or len(rows) != len(texts):
            count = len(rows) if isinstance(rows, list) else "no"
            raise EmbeddingError(
                f"{self.name()} returned {count} embeddings for {len(texts)} inputs"
            )
        return [self._vector(row) for row in rows]

    def _vector(self, row: Any) -> SparseVector:
        indices, values = (field(self.name(), row, key) for key in ("indices", "values"))
        labels = _labels_of(row) if self.include_tokens else None
        try:
            return normalize_sparse_vector(indices, values, labels)
        except (TypeError, ValueError) as error:
            raise EmbeddingError(f"{self.name()} returned no sparse vector: {error}") from error

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "chroma-cloud-splade"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key."""
        return {
            "api_key_env_var": self._key.variable,
            "model": self.model.value,
            "include_tokens": self.include_tokens,
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaCloudSpladeEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return ChromaCloudSpladeEmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model or the labels change."""
        for key in ("model", "include_tokens"):
            if key in new_config and new_config[key] != old_config.get(key):
                raise ValueError(f"Updating '{key}' is not supported for {self.name()}")


def _labels_of(row: Mapping[str, Any]) -> list[str] | None:
    return row.get("labels") or None
