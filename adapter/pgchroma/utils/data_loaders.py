"""Chroma's import path of data loaders."""

from pgchroma.embeddings.images.loaders import ChromaLangchainPassthroughDataLoader, ImageLoader

__all__ = ("ChromaLangchainPassthroughDataLoader", "ImageLoader")
