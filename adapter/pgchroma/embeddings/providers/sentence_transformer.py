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
        """Choose the model and where it runs.

        Args:
            model_name: A model of the hub, or a directory.
            device: PyTorch's name of the device, such as ``cpu`` or ``cuda:0``.
            normalize_embeddings: Whether embeddings are scaled to length 1; many models do it
                anyway.
            kwargs: What else ``SentenceTransformer`` takes, such as ``revision``, ``truncate_dim``
                or ``trust_remote_code``, which runs the code that comes with the model. Values are
                of the kinds JSON has, for collections remember them; but not ``token``.

        Raises:
            ValueError: A value is of another kind, or sentence-transformers is not installed.
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
        """Make the function as the registry does it; see `BatchedEmbeddingFunction.create`.

        Embeddings have length 1 unless ``normalize=False`` is given, as in LanceDB.
        """
        settings.setdefault("normalize_embeddings", settings.pop("normalize", True))
        return super().create(**settings)

    @property
    def dimensions(self) -> int | None:
        """The length to which embeddings are cut, if they are."""
        return self.kwargs.get("truncate_dim")

    def model_settings(self) -> Mapping[str, Any]:
        """Return what decides which model is loaded, and how."""
        return {"name": self.model_name, "device": self.device, "kwargs": self.kwargs}

    def load(self) -> Any:
        """Load the model."""
        package = load_extra("sentence_transformers", "sentence-transformers")
        return package.SentenceTransformer(self.model_name, device=self.device, **self.kwargs)

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch; a query is embedded as a document is, as in Chroma."""
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
