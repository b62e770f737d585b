"""The data loaders, where Chroma's users import them from."""

from pgchroma.embeddings.images.loaders import ChromaLangchainPassthroughDataLoader, ImageLoader

__all__ = ("ChromaLangchainPassthroughDataLoader", "ImageLoader")
