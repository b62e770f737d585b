"""`in_thread` runs a call in a thread; a caller that stops waiting cancels it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from pgchroma.client._async.concurrency import _Threads, in_thread
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from tests.embeddings.providers.serving import Answer, Provider, Request, serving, vector_of

_word: ContextVar[str] = ContextVar("_word", default="none")


def _speaks(request: Request) -> Answer:
    return Answer({"embeddings": [vector_of(text) for text in request.body["input"]]})


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(_speaks) as provider:
        yield provider


def _function(provider: Provider, **options: Any) -> OllamaEmbeddingFunction:
    return OllamaEmbeddingFunction(provider.url).with_options(progress=False, **options)


class _Told:
    """Runs a function, and sets an event when it has ended."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self.ended = threading.Event()

    def __call__(self, *given: Any) -> Any:
        try:
            return self._work(*given)
        finally:
            self.ended.set()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_work_has_its_callers_context_and_gives_back_what_it_makes() -> None:
    _word.set("mine")
    caller = threading.get_ident()
    assert await in_thread(lambda: (_word.get(), threading.get_ident() == caller)) == (
        "mine",
        False,
    )
    await in_thread(_word.set, "another")
    assert _word.get() == "mine"


@pytest.mark.parametrize("error", [ValueError, StopIteration])
async def test_what_work_raises_reaches_its_caller(error: type[Exception]) -> None:
    def fail() -> None:
        raise error("no")

    # A coroutine cannot raise StopIteration.
    with pytest.raises((ValueError, RuntimeError), match=r"^(no|coroutine raised StopIteration)$"):
        await asyncio.wait_for(in_thread(fail), timeout=5)


@pytest.mark.parametrize("texts", [["a"], ["a", "b", "c"]])
async def test_who_waits_no_more_ends_the_wait_for_a_retry(
    provider: Provider, texts: list[str]
) -> None:
    provider.speaks = lambda request: Answer(status=429, headers={"Retry-After": "30"})
    work = _Told(_function(provider, batch_size=1, concurrency=4))
    task = asyncio.create_task(in_thread(work, texts))
    await _until(lambda: len(provider.requests) >= 1)
    await asyncio.sleep(0.05)
    asked = len(provider.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(work.ended.is_set)
    assert len(provider.requests) == asked


async def test_no_batch_is_begun_once_the_caller_is_cancelled(provider: Provider) -> None:
    # The batches in progress succeed, and the rest is not sent.
    provider.speaks = lambda request: Answer(_speaks(request).body, seconds=0.15)
    work = _Told(_function(provider, batch_size=1, concurrency=2))
    task = asyncio.create_task(in_thread(work, [str(n) for n in range(20)]))
    await _until(lambda: len(provider.requests) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(work.ended.is_set)
    await asyncio.sleep(0.2)
    assert len(provider.requests) == 2


async def test_two_calls_in_one_piece_of_work_end_apart(provider: Provider) -> None:
    function = _function(provider)
    first, second = await in_thread(lambda: (function(["a"]), function(["b"])))
    assert [first[0].tolist(), second[0].tolist()] == [vector_of("a"), vector_of("b")]


async def test_what_fails_after_its_caller_has_gone_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = threading.Event()

    def fail() -> None:
        gone.wait(10)
        raise ValueError("too late")

    work = _Told(fail)
    task = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone.set()
    await _until(work.ended.is_set)
    await asyncio.sleep(0.02)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_loop_may_be_closed_before_work_ends(caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()
    work = _Told(lambda: closed.wait(10))
    begun: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        begun.append(asyncio.create_task(in_thread(work)))
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    begun[0]._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    closed.set()
    assert work.ended.wait(10)
    assert asyncio.run(in_thread(lambda: 3)) == 3
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_threads_are_so_many_and_used_again() -> None:
    threads = _Threads(2)
    lock = threading.Lock()
    seen: list[int] = []
    now: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        with lock:
            now.append(1)
            most = max(most, len(now))
        time.sleep(0.01)
        with lock:
            now.pop()
            seen.append(threading.get_ident())

    for count in (6, 7, 8):
        before = len(seen)
        for _ in range(count):
            threads.run(work)
        deadline = time.monotonic() + 10
        while len(seen) < before + count and time.monotonic() < deadline:
            time.sleep(0.005)
    assert len(seen) == 21
    assert (most, len(set(seen)), threads._count) == (2, 2, 2)


def test_a_thread_that_works_is_not_taken_for_an_idle_one() -> None:
    threads = _Threads(2)
    go = threading.Event()
    met = threading.Barrier(2, go.set)
    threads.run(lambda: None)
    threads.run(lambda: None)
    threads.run(lambda: None)
    time.sleep(0.05)
    threads.run(lambda: met.wait(5))
    threads.run(lambda: met.wait(5))
    assert go.wait(5)


_ASYNC = """
import asyncio, sys
from pgchroma.client._async.concurrency import in_thread
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
function = OllamaEmbeddingFunction(sys.argv[1]).with_options(initial_wait=60)
async def main():
    await in_thread(function, ["a"])
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "answer", [Answer(status=503), Answer({}, seconds=20)], ids=["retry", "slow"]
)
def test_an_interrupt_of_asyncios_run_is_obeyed_at_once(provider: Provider, answer: Answer) -> None:
    provider.speaks = lambda request: answer
    process = subprocess.Popen([sys.executable, "-c", _ASYNC, provider.url], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not provider.requests and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert time.monotonic() - begin < 5
    assert b"KeyboardInterrupt" in said
    assert len(provider.requests) == 1


_FORKING = """
import asyncio, os
from pgchroma.client._async.concurrency import in_thread
async def main():
    return await asyncio.wait_for(in_thread(lambda: 3), 10)
assert asyncio.run(main()) == 3
if os.fork() == 0:
    os._exit(0 if asyncio.run(main()) == 3 else 1)
_, status = os.wait()
assert status == 0, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", _FORKING], check=True, timeout=60)
