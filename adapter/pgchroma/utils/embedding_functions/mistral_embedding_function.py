"""Chroma's import path of `MistralEmbeddingFunction`."""

from pgchroma.embeddings.providers.mistral import MistralEmbeddingFunction

__all__ = ("MistralEmbeddingFunction",)
