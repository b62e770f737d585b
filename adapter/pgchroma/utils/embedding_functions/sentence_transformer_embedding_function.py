"""Chroma's import path of `SentenceTransformerEmbeddingFunction`."""

from pgchroma.embeddings.providers.sentence_transformer import SentenceTransformerEmbeddingFunction

__all__ = ("SentenceTransformerEmbeddingFunction",)
