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
_HONOURED = OPTION_NAMES - {"cache"}


class ChromaCloudSpladeEmbeddingModel(StrEnum):
    """The models that Chroma Cloud has."""

    SPLADE_PP_EN_V1 = "prithivida/Splade_PP_en_v1"


class ChromaCloudSpladeEmbeddingFunction(SparseEmbeddingFunction[Documents]):
    """Embeds texts by Chroma Cloud, or by the server that ``CHROMA_EMBED_URL`` names."""

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
            api_key_env_var: The environment variable that has the key.
            model: The model.
            include_tokens: Whether vectors are labelled with their tokens.

        Raises:
            ValueError: There is no key, or no such model.
        """
        self._key = ApiKey(None, api_key_env_var)
        self.model = ChromaCloudSpladeEmbeddingModel(model)
        self.include_tokens = bool(include_tokens)

    def with_options(self, **options: Any) -> Self:
        """Return a copy that is called otherwise; see `Options`.

        Raises:
            TypeError: There is no such option, or it is none for sparse functions.
            ValueError: A value is out of bounds.
        """
        if unknown := options.keys() - _HONOURED:
            raise TypeError(
                f"{self.name()} has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(sorted(_HONOURED))}"
            )
        changed = copy.copy(self)
        changed._options = replace(self._options, **options)
        changed._runner = None
        return changed

    def __call__(self, input: Documents) -> SparseVectors:
        """Embed texts; one sparse vector each, in their order.

        Raises:
            ValueError: The input is no list of texts, or is empty.
            EmbeddingError: They could not be embedded.
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
            found = len(rows) if isinstance(rows, list) else "no"
            raise EmbeddingError(
                f"{self.name()} returned {found} embeddings for {len(texts)} inputs"
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
        """The name in the registry."""
        return "chroma-cloud-splade"

    def get_config(self) -> dict[str, Any]:
        """All the settings but the key."""
        return {
            "api_key_env_var": self._key.variable,
            "model": self.model.value,
            "include_tokens": self.include_tokens,
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaCloudSpladeEmbeddingFunction:
        """Make the function again from what ``get_config`` gave."""
        return ChromaCloudSpladeEmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuse another model, and other labels."""
        for key in ("model", "include_tokens"):
            if key in new_config and new_config[key] != old_config.get(key):
                raise ValueError(f"Updating '{key}' is not supported for {self.name()}")


def _labels_of(row: Mapping[str, Any]) -> list[str] | None:
    return row.get("labels") or None
