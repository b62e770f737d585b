"""Models of the sentence-transformers package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction, without_token
from pgchroma.extras import check_installed, load_extra

__all__ = ("SentenceTransformerEmbeddingFunction",)


class SentenceTransformerEmbeddingFunction(LocalEmbeddingFunction[Documents]):
    """Embeds texts with a sentence-transformers model, from its hub or from a directory."""

    dimensions_of: ClassVar[Mapping[str, int]] = {
        "all-MiniLM-L6-v2": 384,
        "sentence-transformers/all-MiniLM-L6-v2": 384,
        "all-mpnet-base-v2": 768,
        "sentence-transformers/all-mpnet-base-v2": 768,
        "BAAI/bge-small-en-v1.5": 384,
        "BAAI/bge-base-en-v1.5": 768,
        "BAAI/bge-large-en-v1.5": 1024,
    }

    def __init__(
        self,
        model_name: str = "all-MiniLM-L6-v2",
        device: str = "cpu",
        normalize_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        """Choose the model and its device.

        Args:
            model_name: A model of the hub, or a directory.
            device: PyTorch's name for the device, such as ``cpu`` or ``cuda:0``.
            normalize_embeddings: Whether embeddings are scaled to length 1. Many models always do
                that.
            kwargs: More arguments of ``SentenceTransformer``, such as ``revision``,
                ``truncate_dim`` or ``trust_remote_code``, which runs code of the model. Values must
                be JSON, because collections store them, except ``token``.

        Raises:
            ValueError: A value is not JSON, or sentence-transformers is not installed.
        """
        for key, value in kwargs.items():
            if value is None or not _is_plain(value):
                raise ValueError(f"Keyword argument {key} is not a primitive type")
        check_installed("sentence_transformers", extra="sentence-transformers")
        self.model_name = model_name
        self.device = device
        self.normalize_embeddings = normalize_embeddings
        self.kwargs = kwargs

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way; see `BatchedEmbeddingFunction.create`.

        As in LanceDB, embeddings have length 1 unless ``normalize`` is false.
        """
        settings.setdefault("normalize_embeddings", settings.pop("normalize", True))
        return super().create(**settings)

    @property
    def dimensions(self) -> int | None:
        """Return the length that embeddings are truncated to, if they are."""
        return self.kwargs.get("truncate_dim")

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return {"name": self.model_name, "device": self.device, "kwargs": self.kwargs}

    def load(self) -> Any:
        """Load the model."""
        package = load_extra("sentence_transformers", "sentence-transformers")
        return package.SentenceTransformer(self.model_name, device=self.device, **self.kwargs)

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch. As in Chroma, queries are embedded like documents."""
        return model.encode(
            batch,
            batch_size=self.model_batch,
            convert_to_numpy=True,
            normalize_embeddings=self.normalize_embeddings,
            show_progress_bar=False,
        )

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "sentence_transformer"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except tokens."""
        return {
            "model_name": self.model_name,
            "device": self.device,
            "normalize_embeddings": self.normalize_embeddings,
            "kwargs": without_token(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> SentenceTransformerEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        settings = {key: value for key, value in config.items() if key != "kwargs"}
        return SentenceTransformerEmbeddingFunction(**settings, **config.get("kwargs", {}))


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
