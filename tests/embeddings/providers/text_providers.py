"""The providers of text embeddings, for tests of their requirements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.embeddings.providers.openai_cases import CASES as OPENAI_CASES
from tests.embeddings.providers.serving import Provider
from tests.embeddings.providers.text_cases import CASES as TEXT_CASES

__all__ = ("CASES", "IMAGE", "QWEN", "Serve", "bodies_of")

CASES = {case.function: case for case in [*OPENAI_CASES, *TEXT_CASES]}
QWEN = "Qwen/Qwen3-Embedding-0.6B"
IMAGE: Any = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

Serve = Callable[..., Provider]


def bodies_of(provider: Provider, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(request.body.get(key) for key in keys) for request in provider.requests]
