"""A function of Ollama and the server that it calls, for tests of calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from tests.embeddings.providers.serving import Answer, Provider, Request, vector_of

__all__ = ("QUICK", "make_function", "respond", "texts_of", "wait_until")

QUICK: dict[str, Any] = {"initial_wait": 0.01, "progress": False}


def respond(request: Request) -> Answer:
    return Answer({"embeddings": [vector_of(text) for text in request.body["input"]]})


def make_function(provider: Provider, **options: Any) -> OllamaEmbeddingFunction:
    return OllamaEmbeddingFunction(provider.url).with_options(**{**QUICK, **options})


def texts_of(provider: Provider) -> list[str]:
    return [text for request in provider.requests for text in request.body["input"]]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
