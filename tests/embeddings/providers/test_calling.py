"""How a function is called: batches, order, pace, failures, the cache, interrupts, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings.calls.options import Options
from pgchroma.embeddings.calls.runner import BatchRunner, batches, is_transient
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.ollama import QUICK, make_function, respond, texts_of, wait_until
from tests.embeddings.providers.serving import Answer, Provider, Request, vector_of


def make_runner(**options: Any) -> BatchRunner:
    return BatchRunner(Options(**{**QUICK, **options}), name="mine", batch_size=2, concurrency=4)


def _run(caller: BatchRunner, embed: Callable[[list[Any]], object], inputs: list[Any]) -> Any:
    return caller.run(embed, inputs, lambda: "identity")


# Batches and their order


@pytest.mark.parametrize(
    ("inputs", "max_inputs", "max_bytes", "sizes"),
    [
        ([], 3, 10, []),
        (["a"] * 7, 3, None, [3, 3, 1]),
        (["aaaa"] * 5, 3, 8, [2, 2, 1]),
        (["ä" * 4, "ä"], 9, 9, [1, 1]),
        (["ä" * 4, "ä"], 9, 10, [2]),
        (["a", "b" * 100, "c", "d"], 9, 10, [1, 1, 2]),
        (["b" * 100], 9, 10, [1]),
        (["\ud800" * 4, "a"], 9, 100, [2]),
        ([np.zeros(4, np.uint8)] * 5, 9, 8, [2, 2, 1]),
    ],
)
def test_batches_hold_so_many_and_so_many_bytes(
    inputs: list[Any], max_inputs: int, max_bytes: int | None, sizes: list[int]
) -> None:
    found = batches(inputs, max_inputs, max_bytes)
    assert [span.stop - span.start for span in found] == sizes
    assert [value for span in found for value in inputs[span]] == inputs


def test_the_results_keep_the_order_of_the_inputs() -> None:
    def embed(batch: list[Any]) -> object:
        time.sleep(0.05 if batch[0] < 4 else 0)
        return [[float(n)] for n in batch]

    made = _run(make_runner(), embed, list(range(20)))
    assert [each.tolist() for each in made] == [[n] for n in range(20)]


def test_no_more_calls_run_at_a_time_than_allowed(provider: Provider) -> None:
    def slowly(request: Request) -> Answer:
        answer = respond(request)
        answer.seconds = 0.02
        return answer

    provider.speaks = slowly
    make_function(provider, batch_size=1, concurrency=3)([str(n) for n in range(12)])
    assert provider.most_at_once == 3


def test_calls_begin_no_faster_than_the_rate(provider: Provider) -> None:
    stamps: list[float] = []

    def stamped(request: Request) -> Answer:
        stamps.append(time.monotonic())
        return respond(request)

    make_function(provider)(["the first of a process takes longer"])
    provider.speaks = stamped
    function = make_function(provider, batch_size=1, concurrency=8, requests_per_minute=1200)
    with ThreadPoolExecutor(3) as pool:
        # The rate limit belongs to the function; all callers share it.
        list(pool.map(function, [["a", "b"], ["c", "d"], ["e", "f"]]))
    assert len(stamps) == 6
    assert 5 * 0.05 * 0.6 <= max(stamps) - min(stamps) < 5


# Answers


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 2.0], [1.0]], r"different lengths: \[1, 2\]"),
        ([[1.0, float("nan")], [1.0, 2.0]], "NaN or infinity, at position 0"),
        (np.array([[1.0, 2.0], [1.0, np.inf]]), "NaN or infinity, at position 1"),
        ([[1.0]], "1 embeddings for 2 inputs"),
        ([[1.0]] * 3, "3 embeddings for 2 inputs"),
        ([], "no embeddings"),
        (None, "no embeddings"),
        ([["a"], ["b"]], "no embeddings"),
        (np.array([["a"], ["b"]]), "no embeddings"),
        ([[[1.0]], [[2.0]]], "no embeddings"),
        ([[1.0, "a"], [1.0, 2.0]], "no embeddings"),
        ([[1.0, 2.0], None], "no embeddings"),
        ([None, [1.0, 2.0]], "no embeddings"),
        ([[1.0, 2.0], 3.0], "no embeddings"),
        ([[1.0, 2.0], [1.0, {}]], "no embeddings"),
        ([[1.0, 2.0], [1.0, 10**400]], "no embeddings"),
        ([1.0, [2.0]], "no embeddings"),
    ],
)
def test_what_is_not_one_embedding_for_each_input_is_refused(answer: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=f"mine returned.*{message}"):
        _run(make_runner(), lambda batch: answer, ["a", "b"])


def test_batches_have_embeddings_of_one_length() -> None:
    with pytest.raises(EmbeddingError, match=r"different lengths: \[1, 2\]"):
        _run(make_runner(), lambda batch: [[1.0] * len(batch)] * len(batch), ["a", "b", "c"])


def test_kept_embeddings_of_another_length_are_not_mixed_with_new(tmp_path: Path) -> None:
    caller = make_runner(cache=tmp_path / "cache")
    _run(caller, lambda batch: [[1.0]] * len(batch), ["a"])
    with pytest.raises(EmbeddingError, match=r"different lengths: \[1, 2\]"):
        _run(caller, lambda batch: [[1.0, 2.0]] * len(batch), ["a", "b"])


# Failures


class _StatusError(Exception):
    def __init__(self, status_code: object) -> None:
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EmbeddingError("x", is_transient=True), True),
        (EmbeddingError("x"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (_StatusError(429), True),
        (_StatusError(503), True),
        (_StatusError(400), False),
        (_StatusError("429"), False),
        (ValueError(), False),
    ],
)
def test_some_failures_pass(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected
    calls = []

    def embed(batch: list[Any]) -> object:
        calls.append(batch)
        raise error

    with pytest.raises(type(error)):
        _run(make_runner(max_retries=2), embed, ["a"])
    assert len(calls) == (3 if expected else 1)


def test_a_failure_ends_those_that_wait_for_a_retry(provider: Provider) -> None:
    def refuses_one(request: Request) -> Answer:
        # All four requests arrive before the first 429: it would delay requests not sent yet.
        wait_until(lambda: len(provider.requests) == 4)
        if request.body["input"] == ["bad"]:
            return Answer("never", status=400, seconds=0.1)
        return Answer(status=429, headers={"Retry-After": "30"})

    provider.speaks = refuses_one
    begin = time.monotonic()
    with pytest.raises(EmbeddingError, match="400: never"):
        make_function(provider, batch_size=1, concurrency=4)(["a", "b", "bad", "c", "d", "e"])
    assert time.monotonic() - begin < 5
    time.sleep(0.2)
    assert sorted(texts_of(provider)) == ["a", "b", "bad", "c"]


def test_a_failure_does_not_wait_for_answers(provider: Provider) -> None:
    def refuses_one(request: Request) -> Answer:
        if request.body["input"] == ["bad"]:
            wait_until(lambda: len(provider.requests) == 4)
            return Answer(status=400)
        answer = respond(request)
        answer.seconds = 5
        return answer

    provider.speaks = refuses_one
    begin = time.monotonic()
    with pytest.raises(EmbeddingError, match="400"):
        make_function(provider, batch_size=1, concurrency=4)(["a", "b", "c", "bad", "d"])
    assert time.monotonic() - begin < 4
    assert "d" not in texts_of(provider)


def test_when_one_is_told_to_wait_no_other_begins(provider: Provider) -> None:
    provider.first = [Answer(status=429, headers={"retry-after-ms": "300"})]
    begin = time.monotonic()
    make_function(provider, batch_size=1, concurrency=1)(["a", "b"])
    assert time.monotonic() - begin >= 0.3
    assert texts_of(provider) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ({"Retry-After": "{date}"}, 15, 20),
        ({"Retry-After": "{date} GMT"}, 15, 20),
        ({"Retry-After": "{date} -0000"}, 15, 20),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00"}, 0, 0),
        ({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None, None),
        ({"Retry-After": "later"}, None, None),
        ({"retry-after-ms": "1500"}, 1.5, 1.5),
        ({"retry-after-ms": "9" * 400}, float("inf"), float("inf")),
    ],
    ids=str,
)
def test_a_provider_may_say_until_when_to_wait(
    provider: Provider, header: dict[str, str], least: float | None, most: float | None
) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=19)).removesuffix(" +0000")
    answered = {name: value.replace("{date}", until) for name, value in header.items()}
    provider.first = [Answer(status=429, headers=answered)]
    with pytest.raises(EmbeddingError, match="429") as caught:
        make_function(provider, max_retries=0)(["a"])
    found = caught.value.retry_after
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


def test_waits_grow_up_to_the_longest() -> None:
    caller = make_runner(initial_wait=1, longest_wait=10)

    class Outcome:
        def exception(self) -> Exception:
            return ConnectionError()

    class State:
        outcome = Outcome()

        def __init__(self, attempt_number: int) -> None:
            self.attempt_number = attempt_number

    for attempt, most in enumerate([1, 2, 4, 8, 10, 10], start=1):
        assert most / 2 <= caller._backoff(State(attempt)) <= most


# The cache


def test_what_was_embedded_before_a_failure_is_not_asked_for_again(
    provider: Provider, tmp_path: Path
) -> None:
    function = make_function(provider, batch_size=2, concurrency=1, cache=tmp_path / "cache")
    answers = [respond(Request("", {}, {"input": texts})) for texts in (["a", "b"], ["c", "d"])]
    provider.first = [*answers, Answer(status=400)]
    texts = ["a", "b", "c", "d", "e", "f"]
    with pytest.raises(EmbeddingError, match="400"):
        function(texts)
    provider.requests.clear()
    made = function(texts)
    assert texts_of(provider) == ["e", "f"]
    assert np.array_equal(made, [vector_of(text) for text in texts])


def test_queries_and_other_models_are_kept_apart(provider: Provider, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_function(provider, cache=cache)(["a"])
    make_function(provider, cache=cache).embed_query(["a"])
    other = OllamaEmbeddingFunction(provider.url, "other").with_options(**QUICK, cache=cache)
    other(["a"])
    assert len(provider.requests) == 3


# Progress


@pytest.mark.parametrize("wanted", [None, False, True])
def test_progress_is_shown_when_it_is_asked_for(
    provider: Provider, capfd: pytest.CaptureFixture[str], wanted: bool | None
) -> None:
    make_function(provider, batch_size=2, progress=wanted)(["a", "b", "c", "d"])
    shown = capfd.readouterr()
    assert shown.out == ""
    if wanted:
        assert "ollama" in shown.err
        assert "100%" in shown.err
    else:
        assert shown.err == ""


# Options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_retries", -1),
        ("initial_wait", -0.1),
        ("longest_wait", -1),
        ("timeout", 0),
        ("batch_size", 0),
        ("concurrency", 0),
        ("requests_per_minute", 0),
    ],
)
def test_an_option_out_of_bounds_is_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option}: expected .*, got {value}"):
        OllamaEmbeddingFunction().with_options(**{option: value})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="patience"):
        OllamaEmbeddingFunction().with_options(patience=1)
    with pytest.raises(
        TypeError, match=r"OllamaEmbeddingFunction has no setting patience, expected"
    ):
        OllamaEmbeddingFunction.create(patience=1)


def test_options_make_a_copy() -> None:
    function = OllamaEmbeddingFunction()
    changed = function.with_options(batch_size=3)
    assert (function.options.batch_size, changed.options.batch_size) == (None, 3)
    assert changed.get_config() == function.get_config()
