"""Two embedding functions that can be distinguished, and one that fails."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from pgchroma import EmbeddingFunction, register_embedding_function
from pgchroma.errors import EmbeddingError

__all__ = ("Failing", "Hashed", "vector_of")


def vector_of(text: str, seed: int, dimension: int) -> Any:
    """The embedding that `Hashed` computes for a text."""
    start = zlib.crc32(text.encode()) ^ seed
    return np.random.default_rng(start).normal(size=dimension).astype(np.float32)


@register_embedding_function
class Hashed(EmbeddingFunction[Any]):
    """Embeddings that depend only on the text and a seed."""

    def __init__(self, seed: int = 1, dimension: int = 8) -> None:
        self.seed, self.dimension = seed, dimension
        self.seen: list[str] = []

    def __call__(self, input: Any) -> Any:
        self.seen += input
        return [vector_of(text, self.seed, self.dimension) for text in input]

    @staticmethod
    def name() -> str:
        return "hashed"

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "dimension": self.dimension}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Hashed:
        return Hashed(**config)


class Failing(Hashed):
    """Fails after a number of calls."""

    def __init__(self, calls: int, seed: int = 1, dimension: int = 8) -> None:
        super().__init__(seed, dimension)
        self.calls = calls

    def __call__(self, input: Any) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise EmbeddingError("the provider is away")
        return super().__call__(input)
