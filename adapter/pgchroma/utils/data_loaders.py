"""The data loaders, where Chroma's users import them from."""

from pgchroma.embeddings.images import ImageLoader

__all__ = ("ImageLoader",)
