"""Chroma's import path of `RoboflowEmbeddingFunction`."""

from pgchroma.embeddings.providers.roboflow import RoboflowEmbeddingFunction

__all__ = ("RoboflowEmbeddingFunction",)
