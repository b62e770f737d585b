"""Roboflow's inference server, for texts; for images see its own tests."""

from __future__ import annotations

from typing import Any

from pgchroma.embeddings.providers.roboflow import RoboflowEmbeddingFunction
from tests.embeddings.providers.cases import Case
from tests.embeddings.providers.serving import Answer, Request, vector_of


def _texts(request: Request) -> list[Any]:
    return list(request.body["text"])


def _answers(request: Request) -> Answer:
    return Answer({"embeddings": [vector_of(text) for text in _texts(request)], "time": 0.1})


CASES = [
    Case(
        RoboflowEmbeddingFunction,
        lambda url: {"api_url": url},
        _answers,
        _texts,
        "ROBOFLOW_API_KEY",
    ),
]
