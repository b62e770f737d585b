"""The data loaders, where Chroma's users import them from."""

from pgchroma.embeddings.images import ChromaLangchainPassthroughDataLoader, ImageLoader

__all__ = ("ChromaLangchainPassthroughDataLoader", "ImageLoader")
