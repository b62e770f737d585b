"""Chroma Cloud's SPLADE, against a server on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pgchroma.embeddings.sparse import (
    ChromaCloudSpladeEmbeddingFunction,
    ChromaCloudSpladeEmbeddingModel,
    SparseVector,
    config_to_sparse_embedding_function,
    sparse_embedding_function_to_config,
)
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.serving import Answer, Provider, Request, serving

QUICK: dict[str, Any] = {"initial_wait": 0.01, "max_retries": 2}


def _row(text: str) -> dict[str, Any]:
    # The provider does not guarantee the order of dimensions.
    return {
        "indices": [1000, len(text)],
        "values": [0.5, 1.5],
        "labels": ["thousand", text[:5]],
    }


def _speaks(request: Request) -> Answer:
    return Answer({"embeddings": [_row(text) for text in request.body["texts"]]})


def _vector(text: str) -> SparseVector:
    return SparseVector([len(text), 1000], [1.5, 0.5])


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with serving(_speaks) as provider:
        monkeypatch.setenv("CHROMA_EMBED_URL", f"{provider.url}/")
        monkeypatch.setenv("CHROMA_API_KEY", KEY)
        yield provider


def test_texts_are_sent_as_chroma_sends_them(provider: Provider) -> None:
    function = ChromaCloudSpladeEmbeddingFunction()
    assert function(["a", "Zwölf"]) == [_vector("a"), _vector("Zwölf")]
    (request,) = provider.requests
    assert request.path == "/embed_sparse"
    assert request.headers["x-chroma-token"] == KEY
    assert request.headers["x-chroma-embedding-model"] == "prithivida/Splade_PP_en_v1"
    assert request.body == {
        "texts": ["a", "Zwölf"], "task": "", "target": "", "fetch_tokens": "false",
    }  # fmt: skip


def test_tokens_come_if_they_are_asked_for(provider: Provider) -> None:
    function = ChromaCloudSpladeEmbeddingFunction(include_tokens=True)
    assert function(["ab"]) == [SparseVector([2, 1000], [1.5, 0.5], ["ab", "thousand"])]
    assert provider.requests[0].body["fetch_tokens"] == "true"
    provider.first = [Answer({"embeddings": [{"indices": [], "values": []}]})]
    assert function(["ab"]) == [SparseVector([], [])]


def test_many_texts_are_cut_into_batches_that_run_together(provider: Provider) -> None:
    provider.first = [Answer(status=500)]
    provider.speaks = lambda request: Answer(_speaks(request).body, seconds=0.05)
    texts = ["x" * n for n in range(40)]
    function = ChromaCloudSpladeEmbeddingFunction().with_options(
        **QUICK, batch_size=4, concurrency=3
    )
    assert function(texts) == [_vector(text) for text in texts]
    assert 1 < provider.most_at_once <= 3
    assert all(len(request.body["texts"]) <= 4 for request in provider.requests)


def test_a_failing_provider_is_asked_again(provider: Provider) -> None:
    function = ChromaCloudSpladeEmbeddingFunction().with_options(**QUICK)
    provider.first = [Answer(status=503), Answer(status=429, headers={"Retry-After": "0.05"})]
    assert function(["a"]) == [_vector("a")]
    provider.first = [Answer(status=500)] * 9
    with pytest.raises(EmbeddingError, match="500"):
        function(["a"])
    assert len(provider.requests) == 3 + 3
    provider.first = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(EmbeddingError, match="429"):
        function(["a"])
    assert len(provider.requests) == 7


def test_after_a_failure_no_further_batch_is_begun(provider: Provider) -> None:
    provider.speaks = lambda request: Answer("no", status=400, seconds=0.02)
    function = ChromaCloudSpladeEmbeddingFunction().with_options(
        **QUICK, batch_size=1, concurrency=2
    )
    with pytest.raises(EmbeddingError, match="400"):
        function(["a"] * 50)
    assert len(provider.requests) < 10


def test_a_failure_ends_those_that_wait_for_a_retry(provider: Provider) -> None:
    def refuses_one(request: Request) -> Answer:
        _until(lambda: len(provider.requests) == 3)
        if request.body["texts"] == ["bad"]:
            return Answer("never", status=400, seconds=0.1)
        return Answer(status=429, headers={"Retry-After": "30"})

    provider.speaks = refuses_one
    function = ChromaCloudSpladeEmbeddingFunction().with_options(batch_size=1, max_retries=3)
    begin = time.monotonic()
    with pytest.raises(EmbeddingError, match="400: never"):
        function(["a", "bad", "b"])
    assert time.monotonic() - begin < 5
    time.sleep(0.1)
    assert len(provider.requests) == 3


_SLOW = """
import sys
from pgchroma.embeddings.sparse import ChromaCloudSpladeEmbeddingFunction
ChromaCloudSpladeEmbeddingFunction().with_options(batch_size=1, initial_wait=60)(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "answer", [Answer(status=503), Answer({}, seconds=20)], ids=["retry", "slow"]
)
def test_an_interrupt_is_obeyed_at_once(provider: Provider, answer: Answer) -> None:
    provider.speaks = lambda request: answer
    process = subprocess.Popen([sys.executable, "-c", _SLOW, "a", "b"], stderr=subprocess.PIPE)
    _until(lambda: len(provider.requests) == 2)
    time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert time.monotonic() - begin < 5
    assert b"KeyboardInterrupt" in said


def test_a_rate_is_kept(provider: Provider) -> None:
    function = ChromaCloudSpladeEmbeddingFunction().with_options(
        batch_size=1, requests_per_minute=600
    )
    begin = time.monotonic()
    function(["a", "b", "c"])
    assert time.monotonic() - begin >= 0.2


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_provider_that_does_not_answer_is_given_up(provider: Provider) -> None:
    provider.first = [Answer({}, seconds=0.3)]
    with pytest.raises(EmbeddingError, match="did not answer"):
        ChromaCloudSpladeEmbeddingFunction().with_options(timeout=0.1, max_retries=0)(["a"])


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_refusal_is_no_reason_to_ask_again(provider: Provider, status: int) -> None:
    provider.first = [Answer({"error": f"bad key {KEY}"}, status=status)]
    with pytest.raises(EmbeddingError, match=rf"{status}.*bad key") as caught:
        ChromaCloudSpladeEmbeddingFunction()(["a"])
    assert KEY not in str(caught.value)
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "{}", "null", "<html>", '{"embeddings": null}', '{"embeddings": []}',
        '{"embeddings": [3]}', '{"embeddings": [{"indices": [1]}]}',
        '{"embeddings": [{"indices": [1], "values": ["x"]}]}',
        '{"embeddings": [{"indices": [1, 1], "values": [1, 2]}]}',
        '{"embeddings": [{"indices": ["a", 1], "values": [1, 2]}]}',
        '{"embeddings": [{"indices": 3, "values": [1]}]}',
        '{"embeddings": [{"indices": [1], "values": [1], "labels": 3}]}',
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_named(provider: Provider, body: str) -> None:
    provider.first = [Answer(body)]
    with pytest.raises(EmbeddingError):
        ChromaCloudSpladeEmbeddingFunction(include_tokens=True)(["a"])


@pytest.mark.parametrize("inputs", ["text", None, [None], ["a", 3], []])
def test_what_is_no_list_of_texts_is_refused(provider: Provider, inputs: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        ChromaCloudSpladeEmbeddingFunction()(inputs)
    assert not provider.requests


def test_it_can_be_built_again_and_shows_no_key(provider: Provider) -> None:
    function = ChromaCloudSpladeEmbeddingFunction(
        model=ChromaCloudSpladeEmbeddingModel.SPLADE_PP_EN_V1, include_tokens=True
    )
    stored = sparse_embedding_function_to_config(function)
    assert stored == {
        "type": "known",
        "name": "chroma-cloud-splade",
        "config": {
            "api_key_env_var": "CHROMA_API_KEY",
            "model": "prithivida/Splade_PP_en_v1",
            "include_tokens": True,
        },
    }
    for shown in (repr(function), json.dumps(stored)):
        assert KEY not in shown
    again = config_to_sparse_embedding_function(json.loads(json.dumps(stored)))
    assert again.get_config() == function.get_config()
    with pytest.raises(ValueError, match="Updating 'include_tokens'"):
        function.validate_config_update(function.get_config(), {"include_tokens": False})
    # Any secret of the environment could be sent off otherwise.
    config = {**stored["config"], "api_key_env_var": "HOME"}
    with pytest.raises(ValueError, match="api_key_env_var"):
        config_to_sparse_embedding_function({**stored, "config": config})


def test_wrong_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMA_API_KEY", raising=False)
    with pytest.raises(ValueError, match="CHROMA_API_KEY environment variable is not set"):
        ChromaCloudSpladeEmbeddingFunction()
    monkeypatch.setenv("CHROMA_API_KEY", KEY)
    with pytest.raises(ValueError, match="other"):
        ChromaCloudSpladeEmbeddingFunction(model="other")
    with pytest.raises(TypeError, match="no option cache"):
        ChromaCloudSpladeEmbeddingFunction().with_options(cache="file")
