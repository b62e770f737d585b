"""Many inputs through a function that takes some: in batches, several at a time, with retries."""

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

_making = threading.Lock()
"""Held while a function gets its caller: of two, each would keep the rate for itself."""

TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""The statuses of answers after which the same request may succeed."""


class BatchRunner:
    """Calls one embedding function; safe to use from several threads.

    Attributes:
        options: How.
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
        """Say how to call.

        Args:
            options: What the user asked for.
            name: What messages call the function.
            batch_size: The most inputs of a call, unless the options say.
            concurrency: The most calls at a time, unless the options say.
            max_batch_bytes: The most bytes of input in a call; a longer input goes alone.
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
        most: int | None = None,
    ) -> Embeddings:
        """Embed inputs: one float32 array each, in their order.

        Args:
            embed: Embeds one batch.
            inputs: What to embed.
            identity: Tells two functions apart that embed the same differently; asked only if
                embeddings are kept.
            most: The most of these inputs in a call, whatever the user asked for.

        Raises:
            EmbeddingError: A call failed for good, or returned something else than one embedding
                for each of its inputs.
        """

        def checked(batch: list[Any]) -> Embeddings:
            return self._checked(embed(batch), len(batch))

        if self.options.cache is None:
            return _of_one_length(self.gather(checked, inputs, most), self._name)
        cache, prefix = VectorCache(self.options.cache), identity()
        keys = [content_key(prefix, value) for value in inputs]
        found = cache.find(list(set(keys)))
        missing = {key: value for key, value in zip(keys, inputs, strict=True) if key not in found}
        new = list(missing)

        def keep(span: slice, made: Embeddings) -> None:
            # At once: what was paid for outlives a later failure.
            cache.keep(new[span], made)

        made = self.gather(checked, list(missing.values()), most, keep)
        found.update(zip(new, made, strict=True))
        # Copied: inputs that are equal get an array each, and each can be written to.
        return _of_one_length([found[key].astype(np.float32) for key in keys], self._name)

    def run_together(
        self, embed: Callable[[list[Any]], object], inputs: Sequence[Any]
    ) -> Embeddings:
        """Embed inputs by one call, and keep nothing: each is embedded in the light of the others.

        Raises:
            EmbeddingError: As for `run`.
        """
        with cancel_event() as ended:
            made = self._checked(self._call(embed, list(inputs), ended), len(inputs))
        return _of_one_length(made, self._name)

    def gather(
        self,
        embed: Callable[[list[Any]], list[T]],
        inputs: Sequence[Any],
        most: int | None = None,
        note: Callable[[slice, list[T]], None] | None = None,
    ) -> list[T]:
        """Call a function with batches of inputs; return what it makes of each, in their order.

        Args:
            embed: Embeds one batch, and checks that there is one result for each input.
            inputs: What to embed.
            most: The most of these inputs in a call, whatever the user asked for.
            note: Told at once what was made of which inputs, by several threads.

        Raises:
            EmbeddingError: A call failed for good, or nobody waits any more, see `cancel_event`.
        """
        count = self._batch_size if most is None else min(most, self._batch_size)
        spans = batches(inputs, count, self._max_batch_bytes)
        with progress_bar(self._name, len(inputs), self.options.progress) as advance:

            def run_one(span: slice, ended: threading.Event) -> list[T]:
                made = self._call(embed, list(inputs[span]), ended)
                if note is not None:
                    note(span, made)
                # A call that outlives a failure must not bring the bar back.
                if not ended.is_set():
                    advance(len(made))
                return made

            return [each for part in self._each(run_one, spans) for each in part]

    def _each(
        self, run: Callable[[slice, threading.Event], list[T]], spans: Sequence[slice]
    ) -> list[list[T]]:
        # After a failure, or an interrupt, nothing new is begun and nobody waits on.
        with cancel_event() as ended:
            if len(spans) <= 1 or self._concurrency == 1:
                return [run(span, ended) for span in spans]
            waiting = deque(enumerate(spans))
            done: SimpleQueue[tuple[int, list[T] | BaseException]] = SimpleQueue()

            def work() -> None:
                while waiting:
                    try:
                        position, span = waiting.popleft()
                    except IndexError:
                        return
                    try:
                        done.put((position, run(span, ended)))
                    except BaseException as error:
                        # Also told if it was not asked any more: somebody waits for that, too.
                        done.put((position, error))
                        return

            # Of a pool's threads the interpreter awaits the end, and a provider may take a minute.
            for number in range(min(self._concurrency, len(spans))):
                threading.Thread(target=work, name=f"pgchroma-embed-{number}", daemon=True).start()
            return _in_order(done, len(spans))

    def _call(self, embed: Callable[[list[Any]], T], batch: list[Any], ended: threading.Event) -> T:
        # A program that embeds nothing remotely need not load it.
        from tenacity import (  # noqa: PLC0415
            Retrying,
            retry_if_exception,
            stop_after_attempt,
            stop_when_event_set,
        )

        def attempt() -> T:
            self._rate_limiter.take(ended)
            if ended.is_set():
                raise EmbeddingError(
                    f"{self._name} was not asked: another batch has failed, or nobody waits for it"
                )
            return embed(batch)

        retrying = Retrying(
            retry=retry_if_exception(self._is_worth_retrying),
            stop=stop_after_attempt(self.options.max_retries + 1) | stop_when_event_set(ended),
            wait=self._wait,
            sleep=lambda seconds: _wait_for(ended, seconds),
            reraise=True,
        )
        return retrying(attempt)

    def _is_worth_retrying(self, error: BaseException) -> bool:
        return is_transient(error) and (_retry_after(error) or 0) <= self.options.longest_wait

    def _wait(self, state: Any) -> float:
        options = self.options
        growing: float = options.initial_wait * 2.0 ** (state.attempt_number - 1)
        seconds: float = min(growing, options.longest_wait) * random.uniform(0.5, 1.0)  # noqa: S311
        asked = _retry_after(state.outcome.exception())
        if asked is not None:
            # All wait: the provider means the account, not this call.
            self._rate_limiter.hold(asked)
        return max(seconds, asked or 0.0)

    def _checked(self, made: object, count: int) -> Embeddings:
        try:
            embeddings = validate_embeddings(normalize_embeddings(made))
        except ValueError as error:
            raise EmbeddingError(f"{self._name} returned no embeddings: {error}") from error
        if len(embeddings) != count:
            raise EmbeddingError(
                f"{self._name} returned {len(embeddings)} embeddings for {count} inputs"
            )
        for position, embedding in enumerate(embeddings):
            if not np.isfinite(embedding).all():
                raise EmbeddingError(
                    f"{self._name} returned an embedding with NaN or infinity, at position "
                    f"{position} of its batch"
                )
        return embeddings


def runner_of(function: Any, make: Callable[[], BatchRunner]) -> BatchRunner:
    """Return the one caller of an embedding function, which is made at its first call.

    Args:
        function: Keeps it in its attribute ``_runner``, which is None before.
        make: Makes it.
    """
    with _making:
        if function._runner is None:
            function._runner = make()
        kept: BatchRunner = function._runner
        return kept


class RateLimiter:
    """Begins calls no faster than a rate, and none while it is held."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def take(self, ended: threading.Event) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(self._next, now)
            self._next = start + self._gap
        if start > now:
            ended.wait(start - now)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def batches(inputs: Sequence[Any], most: int, max_batch_bytes: int | None) -> list[slice]:
    """Cut inputs into batches, in order, of so many and of so many bytes of texts or arrays.

    An input that alone has more bytes is a batch of its own: whoever embeds it may refuse it.
    """
    found: list[slice] = []
    start, size = 0, 0
    for position, value in enumerate(inputs):
        length = (
            len(value.encode("utf-8", "replace"))
            if isinstance(value, str)
            else getattr(value, "nbytes", 0)
        )
        is_full = position - start >= most or (
            max_batch_bytes is not None and size + length > max_batch_bytes
        )
        if is_full and position > start:
            found.append(slice(start, position))
            start, size = position, 0
        size += length
    return [*found, slice(start, len(inputs))] if inputs else []


def is_transient(error: BaseException) -> bool:
    """Whether a call that failed so may succeed when it is made again.

    Vendors' packages have errors of their own, which carry the status of the answer.
    """
    if isinstance(error, EmbeddingError):
        return error.is_transient
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status in TRANSIENT_STATUS


def _wait_for(ended: threading.Event, seconds: float) -> None:
    ended.wait(seconds)


def _in_order(done: SimpleQueue[tuple[int, T | BaseException]], count: int) -> list[T]:
    found: dict[int, T] = {}
    while len(found) < count:
        position, outcome = done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        found[position] = outcome
    return [found[position] for position in range(count)]


def _of_one_length(embeddings: Embeddings, name: str) -> Embeddings:
    if len(lengths := {len(embedding) for embedding in embeddings}) > 1:
        raise EmbeddingError(f"{name} returned embeddings of different lengths: {sorted(lengths)}")
    return embeddings


def _retry_after(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, EmbeddingError) else None
