"""Models of the text2vec package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction
from pgchroma.extras import check_installed, load_extra

__all__ = ("Text2VecEmbeddingFunction",)


class Text2VecEmbeddingFunction(LocalEmbeddingFunction[Documents]):
    """Embeds texts with a text2vec model. The default model is for Chinese."""

    dimensions_of: ClassVar[Mapping[str, int]] = {"shibing624/text2vec-base-chinese": 768}

    def __init__(self, model_name: str = "shibing624/text2vec-base-chinese") -> None:
        """Choose the model. text2vec chooses the device.

        Args:
            model_name: A model of the hub, or a directory.

        Raises:
            ValueError: text2vec is not installed.
        """
        check_installed("text2vec", extra="text2vec")
        self.model_name = model_name

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return {"name": self.model_name}

    def load(self) -> Any:
        """Load the model."""
        return load_extra("text2vec", "text2vec").SentenceModel(self.model_name)

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        return model.encode(batch, batch_size=self.model_batch, convert_to_numpy=True)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "text2vec"

    def get_config(self) -> dict[str, Any]:
        """Return the model's name."""
        return {"model_name": self.model_name}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Text2VecEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return Text2VecEmbeddingFunction(**config)
