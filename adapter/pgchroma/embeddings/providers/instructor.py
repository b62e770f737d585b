"""Instructor models, which embed a text together with an instruction.

They run with sentence-transformers. The original package, which Chroma requires, does not work with
sentence-transformers after 2.2. The embeddings are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction
from pgchroma.extras import check_installed, load_extra

__all__ = ("InstructorEmbeddingFunction",)


class InstructorEmbeddingFunction(LocalEmbeddingFunction[Documents]):
    """Embeds texts with an Instructor model."""

    dimensions_of: ClassVar[Mapping[str, int]] = {
        "hkunlp/instructor-base": 768,
        "hkunlp/instructor-large": 768,
        "hkunlp/instructor-xl": 768,
    }

    def __init__(
        self,
        model_name: str = "hkunlp/instructor-base",
        device: str = "cpu",
        instruction: str | None = None,
        *,
        query_instruction: str | None = None,
        normalize_embeddings: bool = False,
    ) -> None:
        """Choose the model and its instructions.

        Args:
            model_name: A model of the hub, or a directory.
            device: PyTorch's name for the device, such as ``cpu`` or ``cuda:0``.
            instruction: The instruction, such as ``Represent the document for retrieval:``.
            query_instruction: The instruction of queries, if it differs.
            normalize_embeddings: Whether embeddings are scaled to length 1.

        Raises:
            ValueError: sentence-transformers is not installed.
        """
        check_installed("sentence_transformers", extra="instructor")
        self.model_name = model_name
        self.device = device
        self.instruction = instruction
        self.query_instruction = query_instruction
        self.normalize_embeddings = normalize_embeddings

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way; see `BatchedEmbeddingFunction.create`.

        ``source_instruction`` is LanceDB's name for ``instruction``. The defaults are LanceDB's.
        """
        source = settings.pop("source_instruction", "represent the document for retrieval")
        settings.setdefault("instruction", source)
        settings.setdefault(
            "query_instruction", "represent the document for retrieving the most similar documents"
        )
        settings.setdefault("normalize_embeddings", True)
        return super().create(**settings)

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return {"name": self.model_name, "device": self.device}

    def load(self) -> Any:
        """Load the model."""
        package = load_extra("sentence_transformers", "instructor")
        model = package.SentenceTransformer(self.model_name, device=self.device)
        # The words of the instruction are not part of the mean.
        model.set_pooling_include_prompt(False)
        return model

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        is_query = purpose == "query" and self.query_instruction is not None
        return model.encode(
            batch,
            prompt=self.query_instruction if is_query else self.instruction,
            batch_size=self.model_batch,
            convert_to_numpy=True,
            normalize_embeddings=self.normalize_embeddings,
            show_progress_bar=False,
        )

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "instructor"

    def get_config(self) -> dict[str, Any]:
        """Return all settings, but defaults of settings that Chroma lacks are omitted."""
        config: dict[str, Any] = {
            "model_name": self.model_name,
            "device": self.device,
            "instruction": self.instruction,
        }
        if self.query_instruction is not None:
            config["query_instruction"] = self.query_instruction
        if self.normalize_embeddings:
            config["normalize_embeddings"] = True
        return config

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> InstructorEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return InstructorEmbeddingFunction(**config)
