"""Embeddings of the Qwen model of Chroma Cloud."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, check_url

__all__ = (
    "CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS",
    "ChromaCloudQwenEmbeddingFunction",
    "ChromaCloudQwenEmbeddingInstructions",
    "ChromaCloudQwenEmbeddingModel",
    "ChromaCloudQwenEmbeddingTarget",
)


class ChromaCloudQwenEmbeddingModel(StrEnum):
    """The models of Chroma Cloud."""

    QWEN3_EMBEDDING_0p6B = "Qwen/Qwen3-Embedding-0.6B"


class ChromaCloudQwenEmbeddingTarget(StrEnum):
    """The kind of texts that an instruction is for."""

    DOCUMENTS = "documents"
    QUERY = "query"


ChromaCloudQwenEmbeddingInstructions: TypeAlias = Mapping[
    str, Mapping[ChromaCloudQwenEmbeddingTarget, str]
]

CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS: ChromaCloudQwenEmbeddingInstructions = {
    "nl_to_code": {
        ChromaCloudQwenEmbeddingTarget.DOCUMENTS: "",
        # One of the instructions of the model's evaluation.
        ChromaCloudQwenEmbeddingTarget.QUERY: (
            "Given a question about coding, "
            "retrieval code or passage that can solve user's question"
        ),
    }
}
"""The instructions that the model gets before a text, by task and target."""

_TARGETS: Mapping[Purpose, ChromaCloudQwenEmbeddingTarget] = {
    "document": ChromaCloudQwenEmbeddingTarget.DOCUMENTS,
    "query": ChromaCloudQwenEmbeddingTarget.QUERY,
}


class ChromaCloudQwenEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with the Qwen model of Chroma Cloud.

    The environment variable ``CHROMA_EMBED_URL`` can set another URL.
    """

    endpoint: ClassVar[str] = "https://embed.trychroma.com"
    batch_size: ClassVar[int] = 100
    immutable_settings: ClassVar[tuple[str, ...]] = ("model", "task", "instructions")
    model_parameter: ClassVar[str | None] = "model"
    created_model: ClassVar[str | None] = ChromaCloudQwenEmbeddingModel.QWEN3_EMBEDDING_0p6B.value
    dimensions_of: ClassVar[Mapping[str, int]] = {
        ChromaCloudQwenEmbeddingModel.QWEN3_EMBEDDING_0p6B.value: 1024
    }

    def __init__(
        self,
        model: ChromaCloudQwenEmbeddingModel,
        task: str | None,
        instructions: ChromaCloudQwenEmbeddingInstructions = CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS,
        api_key_env_var: str = "CHROMA_API_KEY",
    ) -> None:
        """Choose the model and its instructions.

        Args:
            model: The model, or its name.
            task: The task whose instructions are sent. Without a task, or for a task without
                instructions, none are sent.
            instructions: The instructions by task and target.
            api_key_env_var: The environment variable of the key.

        Raises:
            ValueError: The key is missing, the model or a target is unknown, or the value of
                ``CHROMA_EMBED_URL`` is not a URL.
        """
        self._key: ApiKey = ApiKey(None, api_key_env_var)
        self.model = ChromaCloudQwenEmbeddingModel(model)
        self.task = task
        self.instructions = {
            each: {
                ChromaCloudQwenEmbeddingTarget(target): text for target, text in by_target.items()
            }
            for each, by_target in instructions.items()
        }
        self._url = os.environ.get("CHROMA_EMBED_URL", "").rstrip("/")
        if self._url:
            check_url("CHROMA_EMBED_URL", self._url)

    def _address(self) -> str:
        return self._url or self.endpoint

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        instructions = self.instructions.get(self.task or "", {})
        return {"instructions": instructions.get(_TARGETS[purpose], ""), "texts": batch}

    def _headers(self) -> dict[str, str]:
        return {
            "x-chroma-token": self._key.get_secret(),
            "x-chroma-embedding-model": self.model.value,
        }

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "chroma-cloud-qwen"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key."""
        instructions = {
            task: {target.value: text for target, text in by_target.items()}
            for task, by_target in self.instructions.items()
        }
        return {**super().get_config(), "model": self.model.value, "instructions": instructions}
