"""The contract tests' description of a provider: its function, and its server's protocol."""

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
        settings: Makes the arguments of its constructor from the server's URL.
        answers: Makes the provider's answer to a request, with `vector_of` of its texts.
        texts: The texts in a request.
        variable: The environment variable of the key; `None` if it needs no key.
        base_url: The name of the class attribute that has the URL, if it is not a setting.
        has_other_queries: Whether requests for queries differ from those for documents.
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
