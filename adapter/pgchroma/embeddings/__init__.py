"""Embedding functions and their registry; used on the client's side of the seam only.

Importing this loads neither a model nor a package that only models need.
"""

from pgchroma.embeddings.calls.options import Options
from pgchroma.embeddings.lancedb.functions import MultiModalEmbeddingFunction, TextEmbeddingFunction
from pgchroma.embeddings.lancedb.registry import EmbeddingFunctionRegistry, get_registry, register
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.minilm.weights import export_onnx
from pgchroma.embeddings.protocol import (
    DataLoader,
    EmbeddingFunction,
    normalize_embeddings,
    validate_embeddings,
)
from pgchroma.embeddings.registry import (
    config_to_embedding_function,
    embedding_function_to_config,
    known_embedding_functions,
    register_embedding_function,
)

__all__ = (
    "DataLoader",
    "DefaultEmbeddingFunction",
    "EmbeddingFunction",
    "EmbeddingFunctionRegistry",
    "MultiModalEmbeddingFunction",
    "ONNXMiniLM_L6_V2",
    "Options",
    "TextEmbeddingFunction",
    "config_to_embedding_function",
    "embedding_function_to_config",
    "export_onnx",
    "get_registry",
    "known_embedding_functions",
    "normalize_embeddings",
    "register",
    "register_embedding_function",
    "validate_embeddings",
)
