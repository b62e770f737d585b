"""Options for calling an embedding function: batches, retries, concurrency, cache."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ("OPTION_NAMES", "Options")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of every embedding function that works in batches.

    Attributes:
        max_retries: The maximum number of retries after a transient error.
        initial_wait: Seconds before the first retry. Each later wait is about twice as long, and
            never shorter than the provider requires.
        longest_wait: The maximum seconds of a wait. If a provider requires more, the call fails.
        batch_size: The maximum number of inputs of a call. `None` means the function's default.
        concurrency: The maximum number of concurrent calls. `None` means the function's default.
        requests_per_minute: The maximum number of calls that begin in a minute. `None` means no
            limit.
        timeout: The maximum seconds of a call over the network.
        progress: Whether to show a progress bar. `None` means: in a terminal, and if the call takes
            longer than two seconds.
        cache: The file of a cache of embeddings. `None` means no cache.
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
        for name in ("max_retries", "initial_wait", "longest_wait"):
            value = getattr(self, name)
            _check(name, value, value >= 0, "at least 0")
        for name in ("batch_size", "concurrency"):
            value = getattr(self, name)
            _check(name, value, value is None or value >= 1, "at least 1")
        for name in ("timeout", "requests_per_minute"):
            value = getattr(self, name)
            _check(name, value, value is None or value > 0, "more than 0")


OPTION_NAMES = frozenset(field.name for field in fields(Options))
"""The names of all options."""


def _check(name: str, value: object, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise ValueError(f"{name}: expected {expected}, got {value!r:.100}")
