"""Run an embedding function on many inputs: in batches, concurrently, with retries."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pgchroma.embeddings.calls.cache import VectorCache, content_key
from pgchroma.embeddings.calls.cancellation import cancel_event
from pgchroma.embeddings.calls.progress import progress_bar
from pgchroma.embeddings.protocol import normalize_embeddings, validate_embeddings
from pgchroma.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgchroma.embeddings.calls.options import Options
    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("TRANSIENT_STATUS", "BatchRunner", "batches", "is_transient", "runner_of")

T = TypeVar("T")

_runner_lock = threading.Lock()
"""Held while a function gets its runner. Two runners would each allow the full rate."""

TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""The HTTP statuses after which the same request may succeed."""


class BatchRunner:
    """Calls one embedding function. Several threads can use it.

    Attributes:
        options: How to call the function.
    """

    def __init__(
        self,
        options: Options,
        *,
        name: str,
        batch_size: int,
        concurrency: int,
        max_batch_bytes: int | None = None,
    ) -> None:
        """Create a runner.

        Args:
            options: The user's options.
            name: The function's name in messages.
            batch_size: The maximum number of inputs of a call, unless the options set it.
            concurrency: The maximum number of concurrent calls, unless the options set it.
            max_batch_bytes: The maximum bytes of input of a call. A longer input is sent alone.
        """
        self.options = options
        self._name = name
        self._batch_size = options.batch_size or batch_size
        self._concurrency = options.concurrency or concurrency
        self._max_batch_bytes = max_batch_bytes
        self._rate_limiter = RateLimiter(options.requests_per_minute)

    def run(
        self,
        embed: Callable[[list[Any]], object],
        inputs: Sequence[Any],
        identity: Callable[[], str],
        max_inputs: int | None = None,
    ) -> Embeddings:
        """Return an embedding for each input, as float32 arrays in the order of the inputs.

        Args:
            embed: Embeds one batch.
            inputs: The inputs.
            identity: Returns a text that differs between functions that embed differently. It is
                only called if there is a cache.
            max_inputs: The maximum number of inputs of a call, regardless of the user's options.

        Raises:
            EmbeddingError: A call failed after all retries, or did not return one embedding for
                each of its inputs.
        """

        def checked(batch: list[Any]) -> Embeddings:
            return self._checked(embed(batch), len(batch))

        if self.options.cache is None:
            return _of_one_length(self.gather(checked, inputs, max_inputs), self._name)
        cache, prefix = VectorCache(self.options.cache), identity()
        keys = [content_key(prefix, value) for value in inputs]
        cached = cache.find(list(set(keys)))
        missing = {key: value for key, value in zip(keys, inputs, strict=True) if key not in cached}
        new = list(missing)

        def store(span: slice, embeddings: Embeddings) -> None:
            # Each batch is stored immediately, so that a later failure does not lose it.
            cache.store(new[span], embeddings)

        made = self.gather(checked, list(missing.values()), max_inputs, store)
        cached.update(zip(new, made, strict=True))
        # The arrays are copied, so that equal inputs get separate and writable arrays.
        return _of_one_length([cached[key].astype(np.float32) for key in keys], self._name)

    def run_together(
        self, embed: Callable[[list[Any]], object], inputs: Sequence[Any]
    ) -> Embeddings:
        """Embed inputs by one call, because each embedding depends on the other inputs.

        The embeddings are not cached.

        Raises:
            EmbeddingError: See `run`.
        """
        with cancel_event() as cancelled:
            made = self._checked(self._call(embed, list(inputs), cancelled), len(inputs))
        return _of_one_length(made, self._name)

    def gather(
        self,
        embed: Callable[[list[Any]], list[T]],
        inputs: Sequence[Any],
        max_inputs: int | None = None,
        on_batch: Callable[[slice, list[T]], None] | None = None,
    ) -> list[T]:
        """Call a function with batches of inputs, and return its results in the inputs' order.

        Args:
            embed: Embeds one batch, and checks that there is one result for each input.
            inputs: The inputs.
            max_inputs: The maximum number of inputs of a call, regardless of the user's options.
            on_batch: Called with each batch's span and results as soon as they exist, by several
                threads.

        Raises:
            EmbeddingError: A call failed after all retries, or was cancelled; see `cancel_event`.
        """
        count = self._batch_size if max_inputs is None else min(max_inputs, self._batch_size)
        spans = batches(inputs, count, self._max_batch_bytes)
        with progress_bar(self._name, len(inputs), self.options.progress) as advance:

            def run_batch(span: slice, cancelled: threading.Event) -> list[T]:
                made = self._call(embed, list(inputs[span]), cancelled)
                if on_batch is not None:
                    on_batch(span, made)
                # A call that ends after a failure must not show the bar again.
                if not cancelled.is_set():
                    advance(len(made))
                return made

            return [each for part in self._run_batches(run_batch, spans) for each in part]

    def _run_batches(
        self, run: Callable[[slice, threading.Event], list[T]], spans: Sequence[slice]
    ) -> list[list[T]]:
        # A failure or an interrupt cancels the calls that have not begun, and ends all waits.
        with cancel_event() as cancelled:
            if len(spans) <= 1 or self._concurrency == 1:
                return [run(span, cancelled) for span in spans]
            waiting = deque(enumerate(spans))
            done: SimpleQueue[tuple[int, list[T] | BaseException]] = SimpleQueue()

            def work() -> None:
                while waiting:
                    try:
                        position, span = waiting.popleft()
                    except IndexError:
                        return
                    try:
                        done.put((position, run(span, cancelled)))
                    except BaseException as error:
                        # A cancelled batch is reported as well, because the collector counts them.
                        done.put((position, error))
                        return

            # No thread pool: the interpreter joins its threads at exit, and a call to a provider
            # can take a minute.
            for number in range(min(self._concurrency, len(spans))):
                threading.Thread(target=work, name=f"pgchroma-embed-{number}", daemon=True).start()
            return _in_order(done, len(spans))

    def _call(
        self, embed: Callable[[list[Any]], T], batch: list[Any], cancelled: threading.Event
    ) -> T:
        # Imported here, for programs that embed nothing remotely.
        from tenacity import (  # noqa: PLC0415
            Retrying,
            retry_if_exception,
            stop_after_attempt,
            stop_when_event_set,
        )

        def attempt() -> T:
            self._rate_limiter.acquire(cancelled)
            if cancelled.is_set():
                raise EmbeddingError(
                    f"{self._name} was not called: another batch failed, or the call was cancelled"
                )
            return embed(batch)

        retrying = Retrying(
            retry=retry_if_exception(self._is_worth_retrying),
            stop=stop_after_attempt(self.options.max_retries + 1) | stop_when_event_set(cancelled),
            wait=self._backoff,
            sleep=lambda seconds: _wait_for(cancelled, seconds),
            reraise=True,
        )
        return retrying(attempt)

    def _is_worth_retrying(self, error: BaseException) -> bool:
        return is_transient(error) and (_retry_after(error) or 0) <= self.options.longest_wait

    def _backoff(self, state: Any) -> float:
        options = self.options
        growing: float = options.initial_wait * 2.0 ** (state.attempt_number - 1)
        seconds: float = min(growing, options.longest_wait) * random.uniform(0.5, 1.0)  # noqa: S311
        retry_after = _retry_after(state.outcome.exception())
        if retry_after is not None:
            # All calls wait: the provider limits the account, not this call.
            self._rate_limiter.pause(retry_after)
        return max(seconds, retry_after or 0.0)

    def _checked(self, made: object, count: int) -> Embeddings:
        try:
            embeddings = validate_embeddings(normalize_embeddings(made))
        except ValueError as error:
            raise EmbeddingError(f"{self._name} returned no embeddings: {error}") from error
        if len(embeddings) != count:
            raise EmbeddingError(
                f"{self._name} returned {len(embeddings)} embeddings for {count} inputs, "
                "expected one for each"
            )
        for position, embedding in enumerate(embeddings):
            if not np.isfinite(embedding).all():
                raise EmbeddingError(
                    f"{self._name} returned an embedding with NaN or infinity, at position "
                    f"{position} of its batch"
                )
        return embeddings


def runner_of(function: Any, make: Callable[[], BatchRunner]) -> BatchRunner:
    """Return the runner of an embedding function. The first call creates it.

    Args:
        function: The function. Its attribute ``_runner`` holds the runner, or `None` before.
        make: Creates the runner.
    """
    with _runner_lock:
        if function._runner is None:
            function._runner = make()
        runner: BatchRunner = function._runner
        return runner


class RateLimiter:
    """Limits how many calls begin per minute, and delays all calls while it is paused."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def acquire(self, cancelled: threading.Event) -> None:
        """Wait until the next call may begin, or until the event is set."""
        with self._lock:
            now = time.monotonic()
            start = max(self._next, now)
            self._next = start + self._gap
        if start > now:
            cancelled.wait(start - now)

    def pause(self, seconds: float) -> None:
        """Let no call begin for a time."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def batches(inputs: Sequence[Any], max_inputs: int, max_bytes: int | None) -> list[slice]:
    """Return the spans of batches, limited by the number of inputs and by their bytes.

    An input with more bytes is a batch by itself, and the provider may reject it.
    """
    spans: list[slice] = []
    start, size = 0, 0
    for position, value in enumerate(inputs):
        length = (
            len(value.encode("utf-8", "replace"))
            if isinstance(value, str)
            else getattr(value, "nbytes", 0)
        )
        is_full = position - start >= max_inputs or (
            max_bytes is not None and size + length > max_bytes
        )
        if is_full and position > start:
            spans.append(slice(start, position))
            start, size = position, 0
        size += length
    return [*spans, slice(start, len(inputs))] if inputs else []


def is_transient(error: BaseException) -> bool:
    """Whether a call that failed with this error may succeed when it is repeated.

    The errors of vendors' packages have the HTTP status as an attribute.
    """
    if isinstance(error, EmbeddingError):
        return error.is_transient
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status in TRANSIENT_STATUS


def _wait_for(cancelled: threading.Event, seconds: float) -> None:
    cancelled.wait(seconds)


def _in_order(done: SimpleQueue[tuple[int, T | BaseException]], count: int) -> list[T]:
    results: dict[int, T] = {}
    while len(results) < count:
        position, outcome = done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        results[position] = outcome
    return [results[position] for position in range(count)]


def _of_one_length(embeddings: Embeddings, name: str) -> Embeddings:
    if len(lengths := {len(embedding) for embedding in embeddings}) > 1:
        raise EmbeddingError(f"{name} returned embeddings of different lengths: {sorted(lengths)}")
    return embeddings


def _retry_after(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, EmbeddingError) else None
