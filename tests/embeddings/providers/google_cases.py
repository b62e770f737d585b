"""Google's APIs."""

from __future__ import annotations

from typing import Any

from pgchroma.embeddings.providers.google import (
    GoogleGeminiEmbeddingFunction,
    GoogleGenerativeAiEmbeddingFunction,
    GooglePalmEmbeddingFunction,
    GoogleVertexEmbeddingFunction,
)
from tests.embeddings.providers.cases import Case
from tests.embeddings.providers.serving import Answer, Request, vector_of


def gemini_texts(request: Request) -> list[Any]:
    return [each["content"]["parts"][0]["text"] for each in request.body["requests"]]


def answers_of_gemini(request: Request) -> Answer:
    made = [{"values": vector_of(text)} for text in gemini_texts(request)]
    return Answer({"embeddings": made})


def vertex_texts(request: Request) -> list[Any]:
    return [each["content"] for each in request.body["instances"]]


def answers_of_vertex(request: Request) -> Answer:
    made = [{"embeddings": {"values": vector_of(text)}} for text in vertex_texts(request)]
    return Answer({"predictions": made, "deployedModelId": "1"})


def _palm_texts(request: Request) -> list[Any]:
    return list(request.body["texts"])


def _answers_of_palm(request: Request) -> Answer:
    return Answer({"embeddings": [{"value": vector_of(text)} for text in _palm_texts(request)]})


CASES = [
    Case(
        GoogleGenerativeAiEmbeddingFunction,
        lambda url: {"dimension": 256},
        answers_of_gemini,
        gemini_texts,
        "GOOGLE_API_KEY",
        base_url="endpoint",
    ),
    Case(
        GoogleGeminiEmbeddingFunction,
        lambda url: {},
        answers_of_gemini,
        gemini_texts,
        "GEMINI_API_KEY",
        base_url="endpoint",
    ),
    Case(
        GooglePalmEmbeddingFunction,
        lambda url: {},
        _answers_of_palm,
        _palm_texts,
        "GOOGLE_API_KEY",
        base_url="endpoint",
    ),
    Case(
        GoogleVertexEmbeddingFunction,
        lambda url: {"project_id": "some-project", "region": "europe-west4"},
        answers_of_vertex,
        vertex_texts,
        "GOOGLE_API_KEY",
        base_url="endpoint",
    ),
]
