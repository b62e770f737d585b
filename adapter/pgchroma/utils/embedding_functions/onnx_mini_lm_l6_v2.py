"""Chroma's import path of `ONNXMiniLM_L6_V2`."""

from pgchroma.embeddings.minilm.function import ONNXMiniLM_L6_V2

__all__ = ("ONNXMiniLM_L6_V2",)
