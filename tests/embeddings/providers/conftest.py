"""Providers of embeddings that run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.ollama import respond
from tests.embeddings.providers.serving import Answer, Provider, Request, serving
from tests.embeddings.providers.text_providers import CASES, Serve


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(respond) as provider:
        yield provider


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in CASES.values():
        if case.variable is not None:
            monkeypatch.setenv(case.variable, KEY)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Run the provider of a function, and replace the function's fixed address if it has one."""
    with ExitStack() as running:

        def start(
            function: type[BatchedEmbeddingFunction[Any]],
            answers: Callable[[Request], Answer] | None = None,
        ) -> Provider:
            case = CASES[function]
            entered: AbstractContextManager[Provider] = serving(answers or case.answers)
            provider = running.enter_context(entered)
            if case.base_url is not None:
                monkeypatch.setattr(function, case.base_url, provider.url)
            return provider

        yield start
