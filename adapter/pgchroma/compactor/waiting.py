"""How long somebody has waited for others, and when that is worth a word."""

from __future__ import annotations

import time

__all__ = ("Waiting",)


class Waiting:
    """A wait, as somebody sees it who looks now and then.

    Args:
        seconds: How long it lasts before it is told of; it is told of again after twice, four
            times, eight times as long.
    """

    def __init__(self, seconds: float) -> None:
        self._first = seconds
        self._since: float | None = None
        self._next = seconds

    def lasts_for(self, seconds: float) -> bool:
        """Whether it has lasted so long; asked while it lasts."""
        return self._since is not None and time.monotonic() - self._since >= seconds

    def is_worth_telling(self) -> bool:
        """Whether it has lasted long enough; asked while it lasts."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < self._next:
            return False
        self._next *= 2
        return True

    def is_over(self) -> bool:
        """Whether a wait that was told of has ended; asked while nobody waits."""
        was_told = self._next > self._first
        self._since, self._next = None, self._first
        return was_told
