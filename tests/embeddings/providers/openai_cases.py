"""Providers that speak OpenAI's protocol."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction
from pgchroma.embeddings.providers.jina import JinaEmbeddingFunction
from pgchroma.embeddings.providers.mistral import MistralEmbeddingFunction
from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction
from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from pgchroma.embeddings.providers.perplexity import PerplexityEmbeddingFunction
from pgchroma.embeddings.providers.together_ai import TogetherAIEmbeddingFunction
from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
from tests.embeddings.providers.cases import Case
from tests.embeddings.providers.serving import Answer, Request, vector_of

_ENCODED = {"base64": "<f4", "base64_int8": "i1"}


def _texts(request: Request) -> list[Any]:
    return list(request.body["input"])


def _answers(request: Request) -> Answer:
    encoding = _ENCODED.get(request.body.get("encoding_format"))

    def encoded(text: str) -> Any:
        vector = vector_of(text)
        if encoding is None:
            return vector
        return base64.b64encode(np.array(vector).astype(encoding).tobytes()).decode()

    rows = [{"index": n, "embedding": encoded(text)} for n, text in enumerate(_texts(request))]
    # The provider does not guarantee the order of an answer, only its indices.
    return Answer({"object": "list", "data": rows[::-1]})


CASES = [
    Case(
        OpenAIEmbeddingFunction,
        lambda url: {"api_base": f"{url}/v1", "model_name": "text-embedding-3-small"},
        _answers,
        _texts,
        "OPENAI_API_KEY",
    ),
    Case(
        BasetenEmbeddingFunction,
        lambda url: {"api_key": None, "api_base": f"{url}/v1"},
        _answers,
        _texts,
        "BASETEN_API_KEY",
    ),
    Case(
        JinaEmbeddingFunction,
        lambda url: {"task": "retrieval.passage", "query_config": {"task": "retrieval.query"}},
        _answers,
        _texts,
        "JINA_API_KEY",
        base_url="endpoint",
        has_other_queries=True,
    ),
    Case(
        MistralEmbeddingFunction,
        lambda url: {"model": "mistral-embed"},
        _answers,
        _texts,
        "MISTRAL_API_KEY",
        base_url="endpoint",
    ),
    Case(
        MorphEmbeddingFunction,
        lambda url: {"api_base": f"{url}/v1", "encoding_format": "base64"},
        _answers,
        _texts,
        "MORPH_API_KEY",
    ),
    Case(
        PerplexityEmbeddingFunction,
        lambda url: {},
        _answers,
        _texts,
        "PERPLEXITY_API_KEY",
        base_url="endpoint",
    ),
    Case(
        TogetherAIEmbeddingFunction,
        lambda url: {"model_name": "BAAI/bge-base-en-v1.5"},
        _answers,
        _texts,
        "TOGETHER_API_KEY",
        base_url="endpoint",
    ),
    Case(
        VoyageAIEmbeddingFunction,
        lambda url: {},
        _answers,
        _texts,
        "VOYAGE_API_KEY",
        base_url="endpoint",
    ),
]
