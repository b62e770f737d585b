"""Embeddings of models on Baseten."""

from __future__ import annotations

from typing import ClassVar

from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction

__all__ = ("BasetenEmbeddingFunction",)


class BasetenEmbeddingFunction(OpenAIEmbeddingFunction):
    """Embeds texts with a deployment on Baseten, which uses OpenAI's protocol."""

    batch_size: ClassVar[int] = 128
    vendor_env_var: ClassVar[str | None] = "BASETEN_API_KEY"
    model_parameter: ClassVar[str | None] = None

    def __init__(
        self,
        api_key: str | None,
        api_base: str,
        api_key_env_var: str = "CHROMA_BASETEN_API_KEY",
    ) -> None:
        """Choose the deployment.

        Args:
            api_key: The key. Prefer `None`, and the environment variable.
            api_base: The base URL of the deployment's API, up to ``/v1``.
            api_key_env_var: The environment variable of the key. ``BASETEN_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key is missing, or `api_base` is not a URL.
        """
        if not api_base:
            raise ValueError("The api_base argument must be provided.")
        # The deployment has one model and ignores the name in a request.
        super().__init__(
            api_key,
            "baseten-embedding-model",
            api_base=api_base,
            api_key_env_var=api_key_env_var,
        )

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "baseten"
