"""Backends of an embedded server that start it again when it has died while it was used.

Before an operation is sent, the server's lock tells whether it lives, so that most operations find
a server again that died before. One that meets the death of the server is repeated where that is
safe: a read, or a write that was never sent.
"""

from __future__ import annotations

import asyncio
import os
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgchroma.backends._async.connect import connect as connect_async
from pgchroma.backends._sync.connect import connect
from pgchroma.config import Settings
from pgchroma.errors import OutcomeUnknownError, PoolExhaustedError, UnavailableError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.backends._async.direct import AsyncDirectBackend
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("AsyncHealingBackend", "HealingBackend")

R = TypeVar("R")

PATIENCE: Final = 0.1
"""Seconds that a pool goes on connecting: starting the server is what brings it back."""


class HealingBackend:
    """Direct access to an embedded server. It leaves the server to its owner."""

    in_caller_transaction = False

    def __init__(self, server: EmbeddedPostgres, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self._healing = Lock()
        self._pid = os.getpid()
        self._incarnation = server.incarnation
        self._backend = connect(server.conninfo, settings, PATIENCE)

    def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out; see `pgchroma.backends._sync.base.Backend`."""
        self.heal()
        self._server.space.check(operation)
        try:
            return self._backend.execute(operation)
        except UnavailableError as error:
            if not self._heals(operation, error):
                raise
        return self._backend.execute(operation)

    def heal(self) -> None:
        """Start the server again if it has died.

        Raises:
            UnavailableError: It does not start, or its directory is gone.
        """
        # A fork's child must not touch the server; the backend refuses it.
        if os.getpid() == self._pid and self._server.is_down():
            self._revive()

    def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._backend.limits()

    def close(self) -> None:
        """Stop building indexes, and close the connections."""
        self._backend.close()

    def _heals(self, operation: Operation[Any], error: UnavailableError) -> bool:
        """Heal the server after an operation failed, and return whether to repeat the operation."""
        if _is_busy(error, self._server):
            return False
        self._revive()
        return _may_repeat(operation, error)

    def _revive(self) -> None:
        with self._healing:
            conninfo = self._server.revive()
            if self._server.incarnation == self._incarnation:
                return
            old, self._backend = self._backend, connect(conninfo, self._settings, PATIENCE)
            self._incarnation = self._server.incarnation
        self._backend.compact()
        # Its threads may wait for the dead server.
        Thread(target=old.close, name="pgchroma-closing", daemon=True).start()


class AsyncHealingBackend:
    """What `HealingBackend` is, for an event loop; and it leaves the server when it is closed."""

    in_caller_transaction = False

    def __init__(
        self, server: EmbeddedPostgres, settings: Settings, backend: AsyncDirectBackend
    ) -> None:
        self._server = server
        self._settings = settings
        self._backend = backend
        self._pid = os.getpid()
        self._incarnation = server.incarnation
        self._reviving: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, server: EmbeddedPostgres, settings: Settings) -> AsyncHealingBackend:
        """Connect to a server."""
        return cls(server, settings, await connect_async(server.conninfo, settings, PATIENCE))

    async def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out; see `pgchroma.backends._async.base.AsyncBackend`."""
        if os.getpid() == self._pid and self._server.is_down():
            await self._revive()
        self._server.space.check(operation)
        try:
            return await self._backend.execute(operation)
        except UnavailableError as error:
            if not await self._heals(operation, error):
                raise
        return await self._backend.execute(operation)

    async def limits(self) -> Limits:
        """Tell what the settings allow."""
        return await self._backend.limits()

    async def close(self) -> None:
        """Let go of connections and server."""
        try:
            await self._backend.close()
        finally:
            await asyncio.to_thread(self._server.close)

    async def _heals(self, operation: Operation[Any], error: UnavailableError) -> bool:
        if _is_busy(error, self._server):
            return False
        await self._revive()
        return _may_repeat(operation, error)

    async def _revive(self) -> None:
        if self._reviving is None or self._reviving.done():
            self._reviving = asyncio.create_task(self._replace())
        # All that wait share one attempt, and it goes on when one of them is cancelled.
        await asyncio.shield(self._reviving)

    async def _replace(self) -> None:
        conninfo = await asyncio.to_thread(self._server.revive)
        if self._server.incarnation == self._incarnation:
            return
        old, self._backend = self._backend, await connect_async(conninfo, self._settings, PATIENCE)
        self._incarnation = self._server.incarnation
        self._backend.compact()
        await old.close()


def _is_busy(error: UnavailableError, server: EmbeddedPostgres) -> bool:
    """Whether the server lives, and all connections are in use."""
    return isinstance(error, PoolExhaustedError) and not server.is_down()


def _may_repeat(operation: Operation[Any], error: UnavailableError) -> bool:
    """Whether an operation that failed may be carried out again without doing anything twice."""
    return operation.only_reads or not isinstance(error, OutcomeUnknownError)
