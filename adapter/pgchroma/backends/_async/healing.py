"""A backend on an embedded server that restarts the server if it dies.

Before an operation is sent, the server's lock tells whether the server is alive, so most operations
find a dead server restarted. An operation during which the server dies is repeated where that is
safe: a read, or a write that was never sent.
"""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgchroma.backends._async.connect import connect_url
from pgchroma.backends._async.delegating import AsyncDelegatingBackend
from pgchroma.backends._async.io import SingleFlight, in_thread
from pgchroma.config import Settings
from pgchroma.errors import OutcomeUnknownError, PoolExhaustedError, UnavailableError
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.backends._async.direct import AsyncDirectBackend
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("AsyncHealingBackend",)

R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds that a pool keeps trying to connect: only a restart brings the server back."""


class AsyncHealingBackend(AsyncDelegatingBackend):
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

    async def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; see `pgchroma.backends._async.base.AsyncBackend`."""
        await self.heal()
        self._server.space.check(operation)
        try:
            return await self._backend.execute(operation)
        except UnavailableError as error:
            if not await self._heals(operation, error):
                raise
        return await self._backend.execute(operation)

    async def heal(self) -> None:
        """Restart the server if it has died.

        Raises:
            UnavailableError: The server does not start, or its directory is gone.
        """
        # A forked child must not touch the server; the backend refuses the operation.
        if os.getpid() == self._pid and self._server.is_down():
            await self._reviving.run(self._revive)

    async def close(self) -> None:
        """Stop building indexes, and close the connections."""
        await in_thread(self.close_now)

    def close_now(self) -> None:
        """Do what `close` does. This blocks."""
        self._backend.close_now()

    async def _delegate(self) -> AsyncDirectBackend:
        return self._backend

    async def _heals(self, operation: Operation[Any], error: UnavailableError) -> bool:
        """Heal the server after an operation failed, and return whether to repeat the operation."""
        if isinstance(error, PoolExhaustedError) and not self._server.is_down():
            return False
        await self._reviving.run(self._revive)
        return operation.only_reads or not isinstance(error, OutcomeUnknownError)

    async def _revive(self) -> None:
        conninfo = await in_thread(self._server.revive)
        if self._server.incarnation == self._incarnation:
            return
        new = await in_thread(connect_url, conninfo, self._settings, PATIENCE)
        old, self._backend = self._backend, new
        self._incarnation = self._server.incarnation
        new.compact()
        # Its threads may wait for a dead server.
        Thread(target=old.close_now, name="pgchroma-closing", daemon=True).start()
