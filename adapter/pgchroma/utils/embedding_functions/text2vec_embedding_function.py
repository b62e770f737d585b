"""Chroma's import path of `Text2VecEmbeddingFunction`."""

from pgchroma.embeddings.providers.text2vec import Text2VecEmbeddingFunction

__all__ = ("Text2VecEmbeddingFunction",)
