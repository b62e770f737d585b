"""Chroma's import path of `OpenCLIPEmbeddingFunction`."""

from pgchroma.embeddings.providers.open_clip import OpenCLIPEmbeddingFunction

__all__ = ("OpenCLIPEmbeddingFunction",)
