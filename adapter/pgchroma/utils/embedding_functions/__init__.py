"""Chroma's import path of embedding functions.

The module of a provider is imported when its class is used.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.registry import (
    PROVIDERS,
    config_to_embedding_function,
    known_embedding_functions,
    register_embedding_function,
)

if TYPE_CHECKING:
    from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction
    from pgchroma.embeddings.providers.bedrock import AmazonBedrockEmbeddingFunction
    from pgchroma.embeddings.providers.chroma_cloud_qwen import (
        CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS,
        ChromaCloudQwenEmbeddingFunction,
        ChromaCloudQwenEmbeddingInstructions,
        ChromaCloudQwenEmbeddingModel,
        ChromaCloudQwenEmbeddingTarget,
    )
    from pgchroma.embeddings.providers.cloudflare_workers_ai import (
        CloudflareWorkersAIEmbeddingFunction,
    )
    from pgchroma.embeddings.providers.cohere import CohereEmbeddingFunction
    from pgchroma.embeddings.providers.google import (
        GoogleGeminiEmbeddingFunction,
        GoogleGenaiEmbeddingFunction,
        GoogleGenerativeAiEmbeddingFunction,
        GooglePalmEmbeddingFunction,
        GoogleVertexEmbeddingFunction,
    )
    from pgchroma.embeddings.providers.huggingface import (
        HuggingFaceEmbeddingFunction,
        HuggingFaceEmbeddingServer,
    )
    from pgchroma.embeddings.providers.imagebind import ImageBindEmbeddingFunction
    from pgchroma.embeddings.providers.instructor import InstructorEmbeddingFunction
    from pgchroma.embeddings.providers.jina import JinaEmbeddingFunction, JinaQueryConfig
    from pgchroma.embeddings.providers.langchain import (
        ChromaLangchainEmbeddingFunction,
        create_langchain_embedding,
    )
    from pgchroma.embeddings.providers.mistral import MistralEmbeddingFunction
    from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction
    from pgchroma.embeddings.providers.nomic import NomicEmbeddingFunction, NomicQueryConfig
    from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
    from pgchroma.embeddings.providers.open_clip import OpenCLIPEmbeddingFunction
    from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
    from pgchroma.embeddings.providers.perplexity import PerplexityEmbeddingFunction
    from pgchroma.embeddings.providers.roboflow import RoboflowEmbeddingFunction
    from pgchroma.embeddings.providers.sentence_transformer import (
        SentenceTransformerEmbeddingFunction,
    )
    from pgchroma.embeddings.providers.text2vec import Text2VecEmbeddingFunction
    from pgchroma.embeddings.providers.together_ai import TogetherAIEmbeddingFunction
    from pgchroma.embeddings.providers.transformers import TransformersEmbeddingFunction
    from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
    from pgchroma.embeddings.sparse import (
        Bm25EmbeddingFunction,
        ChromaBm25EmbeddingFunction,
        ChromaCloudSpladeEmbeddingFunction,
        ChromaCloudSpladeEmbeddingModel,
        FastembedSparseEmbeddingFunction,
        HuggingFaceSparseEmbeddingFunction,
        SparseEmbeddingFunction,
        register_sparse_embedding_function,
        sparse_known_embedding_functions,
    )

__all__ = (
    "CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS",
    "AmazonBedrockEmbeddingFunction",
    "BasetenEmbeddingFunction",
    "Bm25EmbeddingFunction",
    "ChromaBm25EmbeddingFunction",
    "ChromaCloudQwenEmbeddingFunction",
    "ChromaCloudQwenEmbeddingInstructions",
    "ChromaCloudQwenEmbeddingModel",
    "ChromaCloudQwenEmbeddingTarget",
    "ChromaCloudSpladeEmbeddingFunction",
    "ChromaCloudSpladeEmbeddingModel",
    "ChromaLangchainEmbeddingFunction",
    "CloudflareWorkersAIEmbeddingFunction",
    "CohereEmbeddingFunction",
    "DefaultEmbeddingFunction",
    "EmbeddingFunction",
    "FastembedSparseEmbeddingFunction",
    "GoogleGeminiEmbeddingFunction",
    "GoogleGenaiEmbeddingFunction",
    "GoogleGenerativeAiEmbeddingFunction",
    "GooglePalmEmbeddingFunction",
    "GoogleVertexEmbeddingFunction",
    "HuggingFaceEmbeddingFunction",
    "HuggingFaceEmbeddingServer",
    "HuggingFaceSparseEmbeddingFunction",
    "ImageBindEmbeddingFunction",
    "InstructorEmbeddingFunction",
    "JinaEmbeddingFunction",
    "JinaQueryConfig",
    "MistralEmbeddingFunction",
    "MorphEmbeddingFunction",
    "NomicEmbeddingFunction",
    "NomicQueryConfig",
    "ONNXMiniLM_L6_V2",
    "OllamaEmbeddingFunction",
    "OpenAIEmbeddingFunction",
    "OpenCLIPEmbeddingFunction",
    "PerplexityEmbeddingFunction",
    "RoboflowEmbeddingFunction",
    "SentenceTransformerEmbeddingFunction",
    "SparseEmbeddingFunction",
    "Text2VecEmbeddingFunction",
    "TogetherAIEmbeddingFunction",
    "TransformersEmbeddingFunction",
    "VoyageAIEmbeddingFunction",
    "config_to_embedding_function",
    "create_langchain_embedding",
    "get_builtins",
    "known_embedding_functions",
    "register_embedding_function",
    "register_sparse_embedding_function",
    "sparse_known_embedding_functions",
)

_MODULES = {
    **{function: f"providers.{module}" for module, function in PROVIDERS.values()},
    "CHROMA_CLOUD_QWEN_DEFAULT_INSTRUCTIONS": "providers.chroma_cloud_qwen",
    "ChromaCloudQwenEmbeddingInstructions": "providers.chroma_cloud_qwen",
    "ChromaCloudQwenEmbeddingModel": "providers.chroma_cloud_qwen",
    "ChromaCloudQwenEmbeddingTarget": "providers.chroma_cloud_qwen",
    "GoogleGenaiEmbeddingFunction": "providers.google",
    "JinaQueryConfig": "providers.jina",
    "NomicQueryConfig": "providers.nomic",
    "create_langchain_embedding": "providers.langchain",
    "Bm25EmbeddingFunction": "sparse",
    "ChromaBm25EmbeddingFunction": "sparse",
    "ChromaCloudSpladeEmbeddingFunction": "sparse",
    "ChromaCloudSpladeEmbeddingModel": "sparse",
    "FastembedSparseEmbeddingFunction": "sparse",
    "HuggingFaceSparseEmbeddingFunction": "sparse",
    "SparseEmbeddingFunction": "sparse",
    "register_sparse_embedding_function": "sparse",
    "sparse_known_embedding_functions": "sparse",
}


_BUILTIN = ("EmbeddingFunction", "EmbeddingServer", "ONNXMiniLM_L6_V2")

_SUBMODULES = frozenset(module.name for module in iter_modules(__path__))
"""Chroma's modules, one for each provider."""


def get_builtins() -> set[str]:
    """Return the names of the package's classes."""
    return {name for name in __all__ if name.endswith(_BUILTIN)} - {
        "EmbeddingFunction",
        "SparseEmbeddingFunction",
    }


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"pgchroma.embeddings.{_MODULES[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_MODULES, *_SUBMODULES))
