"""The contract of all functions that call a provider over HTTP."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.embeddings.providers as here
from pgchroma.embeddings import config_to_embedding_function, embedding_function_to_config
from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY, Case
from tests.embeddings.providers.serving import Answer, Provider, serving, vector_of

CASES: list[Case] = [
    case
    for module in sorted(pkgutil.iter_modules(here.__path__), key=lambda each: each.name)
    if module.name.endswith("_cases")
    for case in importlib.import_module(f"{here.__name__}.{module.name}").CASES
]
QUICK = {"initial_wait": 0.01, "max_retries": 3, "progress": False}

Function = BatchedEmbeddingFunction[Any]
Make = Callable[..., Function]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def provider(case: Case) -> Iterator[Provider]:
    with serving(case.answers) as provider:
        yield provider


@pytest.fixture
def make(case: Case, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Make:
    if case.variable is not None:
        monkeypatch.setenv(case.variable, KEY)
    if case.base_url is not None:
        monkeypatch.setattr(case.function, case.base_url, provider.url)

    def build(**options: Any) -> Function:
        function = case.function(**case.settings(provider.url))
        return function.with_options(**{**QUICK, **options})

    return build


def _is(made: list[Any], texts: list[str]) -> bool:
    return np.array_equal(np.array(made), np.array([vector_of(text) for text in texts]))


def test_texts_become_embeddings_in_their_order(case: Case, provider: Provider, make: Make) -> None:
    texts = ["one", "two", "", "Zwölf", "x" * 1_000_000]
    made = make()(texts)
    assert [each.dtype for each in made] == [np.float32] * 5
    assert _is(made, texts)


def test_many_texts_are_cut_into_batches_that_run_together(
    case: Case, provider: Provider, make: Make
) -> None:
    provider.first = [Answer(status=500)]
    texts = [f"text {n}" for n in range(100)]
    speaks = provider.speaks

    def slowly(request: Any) -> Answer:
        answer = speaks(request)
        answer.seconds = 0.05
        return answer

    provider.speaks = slowly
    assert _is(make(batch_size=4, concurrency=8)(texts), texts)
    assert 1 < provider.most_at_once <= 8
    assert all(len(case.texts(request)) <= 4 for request in provider.requests)


def test_the_key_goes_along_and_is_shown_nowhere(
    case: Case, provider: Provider, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    function = make()
    function(["a"])
    provider.first = [Answer("no", status=400)]
    with pytest.raises(EmbeddingError) as caught:
        function(["a"])
    stored = embedding_function_to_config(function)
    for shown in (repr(function), str(caught.value), caplog.text, json.dumps(stored)):
        assert KEY not in shown
    if case.variable is not None:
        sent = provider.requests[0]
        assert KEY in json.dumps([sent.headers, sent.body])
        assert KEY not in sent.path


@pytest.mark.parametrize("case", [case for case in CASES if case.variable], indirect=True)
def test_a_key_that_the_provider_repeats_is_hidden(provider: Provider, make: Make) -> None:
    for answer in (Answer(f"bad key {KEY}!", status=401), Answer(f"bad key {KEY}!")):
        provider.first = [answer]
        with pytest.raises(EmbeddingError) as caught:
            make()(["a"])
        assert "bad key" in str(caught.value)
        assert KEY not in str(caught.value)


def test_a_wait_that_the_provider_asks_for_is_kept(
    provider: Provider, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.first = [Answer(status=429, headers={"Retry-After": "0.2"})]
    waits: list[float] = []
    function = make()
    caller = function._batch_runner()
    ask = caller._backoff

    def noted(state: Any) -> float:
        waits.append(ask(state))
        return waits[-1]

    monkeypatch.setattr(caller, "_backoff", noted)
    assert _is(function(["a"]), ["a"])
    assert len(provider.requests) == 2
    assert waits == [0.2]


def test_a_wait_that_is_too_long_is_a_failure(provider: Provider, make: Make) -> None:
    provider.first = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(EmbeddingError, match="429"):
        make()(["a"])
    assert len(provider.requests) == 1


def test_a_failing_provider_is_asked_again(provider: Provider, make: Make) -> None:
    provider.first = [Answer(status=500), Answer("<html>", status=503)]
    assert _is(make()(["a", "b"]), ["a", "b"])
    provider.first = [Answer(status=500)] * 9
    with pytest.raises(EmbeddingError, match="500"):
        make()(["a"])
    assert len(provider.requests) == 3 + 4


def test_a_provider_that_does_not_answer_is_given_up(provider: Provider, make: Make) -> None:
    provider.first = [Answer({}, seconds=0.4)] * 2
    with pytest.raises(EmbeddingError, match="did not answer"):
        make(timeout=0.1, max_retries=1)(["a"])
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_no_reason_to_ask_again(provider: Provider, make: Make, status: int) -> None:
    provider.first = [Answer({"error": "bad key"}, status=status)]
    with pytest.raises(EmbeddingError, match=f"{status}.*bad key"):
        make()(["a"])
    assert len(provider.requests) == 1


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", "3", '"x"', "<html>"])
def test_an_answer_of_another_form_is_named(provider: Provider, make: Make, body: str) -> None:
    provider.first = [Answer(body)]
    with pytest.raises(EmbeddingError):
        make()(["a"])


def test_fewer_embeddings_than_texts_are_refused(
    case: Case, provider: Provider, make: Make
) -> None:
    function = make()
    with serving(case.answers) as other:
        # The answer for one text, sent for a request with two.
        single = case.function(**case.settings(other.url))
        if case.base_url is not None:
            setattr(case.function, case.base_url, other.url)
        single.with_options(**QUICK)(["a"])
        if case.base_url is not None:
            setattr(case.function, case.base_url, provider.url)
        answer = case.answers(other.requests[0])
    provider.first = [answer]
    with pytest.raises(EmbeddingError, match="1 embeddings for 2 inputs"):
        function(["a", "b"])


@pytest.mark.parametrize("inputs", ["text", None, [None], ["a", 3], [["a"]], [b"a"]])
def test_what_is_no_list_of_texts_is_refused(provider: Provider, make: Make, inputs: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        make()(inputs)
    assert not provider.requests


def test_half_a_character_is_refused(provider: Provider, make: Make) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        make()(["a", "\ud800"])
    assert not provider.requests


def test_queries_are_embedded_too(case: Case, provider: Provider, make: Make) -> None:
    function = make()
    assert _is(function.embed_query(["a"]), ["a"])
    function(["a"])
    query, document = provider.requests
    assert (query.body != document.body) == case.has_other_queries


def test_it_can_be_built_again_from_its_configuration(
    case: Case, provider: Provider, make: Make
) -> None:
    function = make()
    stored = embedding_function_to_config(function)
    assert stored == {"type": "known", "name": case.name, "config": function.get_config()}
    again = config_to_embedding_function(json.loads(json.dumps(stored)), is_trusted=True)
    assert type(again) is case.function
    assert again.get_config() == function.get_config()
    assert _is(again(["a"]), ["a"])


@pytest.mark.parametrize("keyed", [case for case in CASES if case.variable], ids=lambda c: c.name)
def test_a_missing_key_is_told(keyed: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(str(keyed.variable), raising=False)
    with pytest.raises(ValueError, match="environment variable is not set"):
        keyed.function(**keyed.settings("http://127.0.0.1:1"))


def test_what_was_embedded_is_kept(
    case: Case, provider: Provider, make: Make, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" / "embeddings"
    texts = ["a", "b", "a"]
    assert _is(make(cache=cache)(texts), texts)
    assert [case.texts(request) for request in provider.requests] == [["a", "b"]]
    assert _is(make(cache=cache)([*texts, "c"]), [*texts, "c"])
    assert case.texts(provider.requests[1]) == ["c"]
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.heavy
def test_nothing_is_left_open(provider: Provider, make: Make) -> None:
    make()(["a"])
    gc.collect()


def test_no_package_is_imported_before_it_is_used() -> None:
    modules = {case.function.__module__ for case in CASES}
    code = f"""
import sys
import {", ".join(sorted(modules))}
found = {{"openai", "cohere", "boto3", "google", "torch"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
