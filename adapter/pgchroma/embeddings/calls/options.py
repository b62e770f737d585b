"""How an embedding function is called: in which batches, how often again, how many at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ("OPTION_NAMES", "Options")


@dataclass(frozen=True, slots=True)
class Options:
    """What can be asked of any embedding function that works in batches.

    Attributes:
        max_retries: How often a call that failed for a passing reason is tried again.
        initial_wait: Seconds before the first retry; each later wait is about twice as long, and
            none is shorter than the provider asks for.
        longest_wait: Seconds that no wait exceeds; a provider that asks for more has failed.
        batch_size: The most inputs of one call; None: what the function says is good for it.
        concurrency: The most calls at a time; None: what the function says is good for it.
        requests_per_minute: The most calls begun in a minute; None: as many as there are.
        timeout: Seconds one call may take, where it goes over a network.
        progress: Whether a bar shows how far a call has come; None: in a terminal, and if it takes
            longer than two seconds.
        cache: A file in which embeddings are kept by what they are of; None: nothing is kept.
    """

    max_retries: int = 7
    initial_wait: float = 1.0
    longest_wait: float = 60.0
    batch_size: int | None = None
    concurrency: int | None = None
    requests_per_minute: float | None = None
    timeout: float = 60.0
    progress: bool | None = None
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        _check("max_retries", self.max_retries, self.max_retries >= 0)
        _check("initial_wait", self.initial_wait, self.initial_wait >= 0)
        _check("longest_wait", self.longest_wait, self.longest_wait >= 0)
        _check("timeout", self.timeout, self.timeout > 0)
        _check("batch_size", self.batch_size, self.batch_size is None or self.batch_size >= 1)
        _check("concurrency", self.concurrency, self.concurrency is None or self.concurrency >= 1)
        rate = self.requests_per_minute
        _check("requests_per_minute", rate, rate is None or rate > 0)


OPTION_NAMES = frozenset(field.name for field in fields(Options))
"""The words that are options, and no settings of a function's own."""


def _check(name: str, value: object, is_right: bool) -> None:
    if not is_right:
        raise ValueError(f"{name} is out of bounds: {value!r}")
