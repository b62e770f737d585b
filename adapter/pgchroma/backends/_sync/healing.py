# Generated from _async/healing.py by tools/unasync.py; edit that and run `make fmt`.
"""A backend on an embedded server that restarts the server if it dies.

Before an operation is sent, the server's lock tells whether the server is alive, so most operations
find a dead server restarted. An operation during which the server dies is repeated where that is
safe: a read, or a write that was never sent.
"""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgchroma.backends._sync.connect import connect_url
from pgchroma.backends._sync.delegating import DelegatingBackend
from pgchroma.backends._sync.io import SingleFlight, in_thread
from pgchroma.config import Settings
from pgchroma.errors import OutcomeUnknownError, PoolExhaustedError, UnavailableError
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.backends._sync.direct import DirectBackend
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("HealingBackend",)

R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds that a pool keeps trying to connect: only a restart brings the server back."""


class HealingBackend(DelegatingBackend):
    """Direct access to an embedded server. Its owner closes the server.

    The constructor connects, which blocks.
    """

    def __init__(self, server: EmbeddedPostgres, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self._pid = os.getpid()
        self._reviving = SingleFlight()
        self._incarnation = server.incarnation
        self._backend = connect_url(server.conninfo, settings, PATIENCE)

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; see `pgchroma.backends._sync.base.Backend`."""
        self.heal()
        self._server.space.check(operation)
        try:
            return self._backend.execute(operation)
        except UnavailableError as error:
            if not self._heals(operation, error):
                raise
        return self._backend.execute(operation)

    def heal(self) -> None:
        """Restart the server if it has died.

        Raises:
            UnavailableError: The server does not start, or its directory is gone.
        """
        # A forked child must not touch the server; the backend refuses the operation.
        if os.getpid() == self._pid and self._server.is_down():
            self._reviving.run(self._revive)

    def close(self) -> None:
        """Stop building indexes, and close the connections."""
        in_thread(self.close_now)

    def close_now(self) -> None:
        """Do what `close` does. This blocks."""
        self._backend.close_now()

    def _delegate(self) -> DirectBackend:
        return self._backend

    def _heals(self, operation: Operation[Any], error: UnavailableError) -> bool:
        """Heal the server after an operation failed, and return whether to repeat the operation."""
        if isinstance(error, PoolExhaustedError) and not self._server.is_down():
            return False
        self._reviving.run(self._revive)
        return operation.only_reads or not isinstance(error, OutcomeUnknownError)

    def _revive(self) -> None:
        conninfo = in_thread(self._server.revive)
        if self._server.incarnation == self._incarnation:
            return
        new = in_thread(connect_url, conninfo, self._settings, PATIENCE)
        old, self._backend = self._backend, new
        self._incarnation = self._server.incarnation
        new.compact()
        # Its threads may wait for a dead server.
        Thread(target=old.close_now, name="pgchroma-closing", daemon=True).start()
