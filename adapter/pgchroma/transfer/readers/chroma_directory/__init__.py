"""Read data directories of Chroma 0.4.0 to 1.5.9, without Chroma and also if they are damaged."""

from pgchroma.transfer.readers.chroma_directory.source import ChromaDirectory

__all__ = ("ChromaDirectory",)
