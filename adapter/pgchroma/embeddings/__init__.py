"""Embedding functions and their registry; used on the client's side of the seam only.

Importing this loads neither a model nor a package that only models need.
"""

from pgchroma.embeddings.catalogue import EmbeddingFunctionRegistry, get_registry, register
from pgchroma.embeddings.functions import MultiModalEmbeddingFunction, TextEmbeddingFunction
from pgchroma.embeddings.minilm import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.options import Options
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
from pgchroma.embeddings.weights import export_onnx

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
