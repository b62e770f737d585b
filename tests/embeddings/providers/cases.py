"""What the contract tests know of a provider: its function, and how its server speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction
from tests.embeddings.providers.serving import Answer, Request

__all__ = ("KEY", "Case")

KEY = "sk-very-secret"


@dataclass(frozen=True)
class Case:
    """One provider.

    Attributes:
        function: The class.
        settings: What its constructor is given, made from the server's URL.
        answers: What the provider answers to a request, made with `vector_of` of its texts.
        texts: The texts in a request.
        variable: The environment variable that has the key; None if it takes none.
        base_url: The name of the class attribute that has the URL, if it is not a setting.
        has_other_queries: Whether a query is asked for in another way than a document.
    """

    function: type[BatchedEmbeddingFunction[Any]]
    settings: Callable[[str], Mapping[str, Any]]
    answers: Callable[[Request], Answer]
    texts: Callable[[Request], list[Any]]
    variable: str | None
    base_url: str | None = None
    has_other_queries: bool = False

    @property
    def name(self) -> str:
        """The name in the registry."""
        return self.function.name()
