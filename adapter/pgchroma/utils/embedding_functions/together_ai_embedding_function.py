"""Chroma's import path of `TogetherAIEmbeddingFunction`."""

from pgchroma.embeddings.providers.together_ai import TogetherAIEmbeddingFunction

__all__ = ("TogetherAIEmbeddingFunction",)
