"""Chroma's import path of `OpenAIEmbeddingFunction`."""

from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction

__all__ = ("OpenAIEmbeddingFunction",)
