"""Providers that speak OpenAI's protocol."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from tests.embeddings.providers.cases import Case
from tests.embeddings.providers.serving import Answer, Request, vector_of


def _texts(request: Request) -> list[Any]:
    return list(request.body["input"])


def _answers(request: Request) -> Answer:
    def encoded(text: str) -> Any:
        vector = vector_of(text)
        if request.body.get("encoding_format") == "base64":
            return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()
        return vector

    rows = [{"index": n, "embedding": encoded(text)} for n, text in enumerate(_texts(request))]
    # The order of an answer is nobody's promise; its indices are.
    return Answer({"object": "list", "data": rows[::-1]})


CASES = [
    Case(
        OpenAIEmbeddingFunction,
        lambda url: {"api_base": f"{url}/v1", "model_name": "text-embedding-3-small"},
        _answers,
        _texts,
        "OPENAI_API_KEY",
    ),
]
