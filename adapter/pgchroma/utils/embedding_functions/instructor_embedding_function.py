"""Chroma's import path of `InstructorEmbeddingFunction`."""

from pgchroma.embeddings.providers.instructor import InstructorEmbeddingFunction

__all__ = ("InstructorEmbeddingFunction",)
