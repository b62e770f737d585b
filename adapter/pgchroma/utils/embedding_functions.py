"""The embedding functions, where Chroma's users import them from."""

from pgchroma.embeddings.minilm import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.registry import (
    config_to_embedding_function,
    known_embedding_functions,
    register_embedding_function,
)

__all__ = (
    "DefaultEmbeddingFunction",
    "EmbeddingFunction",
    "ONNXMiniLM_L6_V2",
    "config_to_embedding_function",
    "known_embedding_functions",
    "register_embedding_function",
)
