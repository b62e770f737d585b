"""Chroma's import path of `BasetenEmbeddingFunction`."""

from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction

__all__ = ("BasetenEmbeddingFunction",)
