"""An embedding function of LanceDB's kind, with embeddings small enough to compute by hand."""

from __future__ import annotations

import inspect
from typing import Any

from pgchroma.embeddings import TextEmbeddingFunction, register

__all__ = ("Letters", "done")


@register("typed-letters")
class Letters(TextEmbeddingFunction):
    """How often each of some letters occurs."""

    letters: str = "abc"
    calls: int = 0
    api_key: str | None = None

    def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return [[text.count(letter) for letter in self.letters] for text in texts]

    def ndims(self) -> int:
        return len(self.letters)


async def done(result: Any) -> Any:
    """Await an awaitable result; return the result of a synchronous method unchanged."""
    return await result if inspect.isawaitable(result) else result
