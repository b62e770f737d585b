"""How long the compactor has waited for others, and when to report that."""

from __future__ import annotations

import time

__all__ = ("Waiting",)


class Waiting:
    """The length of a wait, as polling observes it.

    Args:
        report_after: Seconds before the wait is reported. It is reported again after twice, four
            times, eight times as long.
    """

    def __init__(self, report_after: float) -> None:
        self._report_after = report_after
        self._since: float | None = None
        self._next_report = report_after

    def lasts_for(self, seconds: float) -> bool:
        """Whether the present wait has lasted this long."""
        return self._since is not None and time.monotonic() - self._since >= seconds

    def is_report_due(self) -> bool:
        """Whether to report the wait now. The first call of a wait starts it."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < self._next_report:
            return False
        self._next_report *= 2
        return True

    def end(self) -> bool:
        """End the wait, if there is one; return whether it had been reported."""
        was_reported = self._next_report > self._report_after
        self._since, self._next_report = None, self._report_after
        return was_reported
