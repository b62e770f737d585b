"""Chroma's import path of `OllamaEmbeddingFunction`."""

from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction

__all__ = ("OllamaEmbeddingFunction",)
