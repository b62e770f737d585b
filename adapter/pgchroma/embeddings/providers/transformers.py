"""Encoders of the transformers package, LanceDB's function `huggingface`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.embeddings.calls.batched import Purpose, refuse_changes
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction
from pgchroma.extras import check_installed, load_extra

__all__ = ("TransformersEmbeddingFunction",)

_MAX_TOKENS = 1_000_000
"""More tokens than any model accepts. A tokenizer without a known limit has a larger one."""


class TransformersEmbeddingFunction(LocalEmbeddingFunction[Documents]):
    """Embeds a text as the mean of a model's vectors of its tokens.

    Texts are truncated to the model's number of tokens.
    """

    def __init__(
        self,
        model_name: str = "colbert-ir/colbertv2.0",
        device: str = "cpu",
        normalize_embeddings: bool = False,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Choose the model and its device.

        Args:
            model_name: A model of the hub, or a directory.
            device: PyTorch's name for the device, such as ``cpu`` or ``cuda:0``.
            normalize_embeddings: Whether embeddings are scaled to length 1.
            revision: The branch, tag or commit of the model.
            trust_remote_code: Whether to run code of the model.

        Raises:
            ValueError: transformers or torch is not installed.
        """
        check_installed("transformers", "torch", extra="transformers")
        self.model_name = model_name
        self.device = device
        self.normalize_embeddings = normalize_embeddings
        self.revision = revision
        self.trust_remote_code = trust_remote_code

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return {key: value for key, value in self.get_config().items() if "embed" not in key}

    def load(self) -> Any:
        """Load the tokenizer and the model."""
        package = load_extra("transformers", "transformers")
        source = {"revision": self.revision} if self.revision is not None else {}
        settings = {"trust_remote_code": self.trust_remote_code, **source}
        tokenizer = package.AutoTokenizer.from_pretrained(self.model_name, **settings)
        model = package.AutoModel.from_pretrained(self.model_name, **settings)
        return tokenizer, model.to(self.device).eval()

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        tokenizer, encoder = model
        # Texts of similar length together, because padding takes time.
        order = sorted(range(len(batch)), key=lambda n: -len(batch[n]))
        parts = []
        for start in range(0, len(order), self.model_batch):
            texts = [batch[n] for n in order[start : start + self.model_batch]]
            parts.append(self._means(tokenizer, encoder, texts))
        return np.concatenate(parts)[np.argsort(order)]

    def _means(self, tokenizer: Any, encoder: Any, texts: list[str]) -> NDArray[np.float32]:
        torch = load_extra("torch", "transformers")
        max_length = min(
            tokenizer.model_max_length,
            getattr(encoder.config, "max_position_embeddings", None) or _MAX_TOKENS,
        )
        limit = {"max_length": max_length} if max_length < _MAX_TOKENS else {}
        tokens = tokenizer(
            texts, return_tensors="pt", padding=True, truncation=bool(limit), **limit
        )
        tokens = tokens.to(self.device)
        with torch.inference_mode():
            states = encoder(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            if self.normalize_embeddings:
                means = torch.nn.functional.normalize(means, dim=1)
        array: NDArray[np.float32] = means.cpu().numpy()
        return array

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "transformers"

    def get_config(self) -> dict[str, Any]:
        """Return all settings."""
        return {
            "model_name": self.model_name,
            "device": self.device,
            "normalize_embeddings": self.normalize_embeddings,
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> TransformersEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return TransformersEmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model changes."""
        refuse_changes(old_config, new_config, "model_name", "revision")
