"""Embeddings of models that are deployed at Baseten."""

from __future__ import annotations

from typing import ClassVar

from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction

__all__ = ("BasetenEmbeddingFunction",)


class BasetenEmbeddingFunction(OpenAIEmbeddingFunction):
    """Embeds texts with a deployment at Baseten, which speaks OpenAI's protocol."""

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
            api_key: The key; better None, and in the environment.
            api_base: Where the deployment's API is, up to ``/v1``.
            api_key_env_var: The environment variable that has the key; ``BASETEN_API_KEY`` counts
                first.

        Raises:
            ValueError: There is no key, or `api_base` is no URL.
        """
        if not api_base:
            raise ValueError("The api_base argument must be provided.")
        # The deployment has one model, whatever it is called in a request.
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
