"""Providers of text embeddings with their own protocols."""

from __future__ import annotations

from typing import Any

from pgchroma.embeddings.providers.chroma_cloud_qwen import (
    ChromaCloudQwenEmbeddingFunction,
    ChromaCloudQwenEmbeddingModel,
)
from pgchroma.embeddings.providers.cloudflare_workers_ai import CloudflareWorkersAIEmbeddingFunction
from pgchroma.embeddings.providers.cohere import CohereEmbeddingFunction
from pgchroma.embeddings.providers.huggingface import (
    HuggingFaceEmbeddingFunction,
    HuggingFaceEmbeddingServer,
)
from pgchroma.embeddings.providers.nomic import NomicEmbeddingFunction
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from tests.embeddings.providers.cases import Case
from tests.embeddings.providers.serving import Answer, Request, vector_of


def _texts(request: Request) -> list[Any]:
    (found,) = (
        request.body[key] for key in ("texts", "text", "inputs", "input") if key in request.body
    )
    return list(found)


def _vectors(request: Request) -> list[list[float]]:
    return [vector_of(text) for text in _texts(request)]


def _embeddings(request: Request) -> Answer:
    return Answer({"embeddings": _vectors(request)})


def _bare(request: Request) -> Answer:
    return Answer(_vectors(request))


def _cloudflare(request: Request) -> Answer:
    vectors = _vectors(request)
    result = {"shape": [len(vectors), len(vectors[0])], "data": vectors}
    return Answer({"result": result, "success": True, "errors": []})


CASES = [
    Case(
        ChromaCloudQwenEmbeddingFunction,
        lambda url: {
            "model": ChromaCloudQwenEmbeddingModel.QWEN3_EMBEDDING_0p6B,
            "task": "nl_to_code",
        },
        _embeddings,
        _texts,
        "CHROMA_API_KEY",
        base_url="endpoint",
        has_other_queries=True,
    ),
    Case(
        CloudflareWorkersAIEmbeddingFunction,
        lambda url: {"model_name": "@cf/baai/bge-base-en-v1.5", "account_id": "0a1b"},
        _cloudflare,
        _texts,
        "CLOUDFLARE_API_KEY",
        base_url="endpoint",
    ),
    Case(
        CohereEmbeddingFunction,
        lambda url: {"model_name": "embed-english-v3.0"},
        _embeddings,
        _texts,
        "COHERE_API_KEY",
        base_url="endpoint",
        has_other_queries=True,
    ),
    Case(
        HuggingFaceEmbeddingFunction,
        lambda url: {},
        _bare,
        _texts,
        "HUGGINGFACE_API_KEY",
        base_url="endpoint",
    ),
    Case(
        HuggingFaceEmbeddingServer,
        lambda url: {"url": f"{url}/embed"},
        _bare,
        _texts,
        None,
    ),
    Case(
        NomicEmbeddingFunction,
        lambda url: {
            "model": "nomic-embed-text-v1.5",
            "task_type": "search_document",
            "query_config": {"task_type": "search_query"},
        },
        _embeddings,
        _texts,
        "NOMIC_API_KEY",
        base_url="endpoint",
        has_other_queries=True,
    ),
    Case(
        OllamaEmbeddingFunction,
        lambda url: {"url": url},
        _embeddings,
        _texts,
        None,
    ),
]
