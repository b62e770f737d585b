"""A backend that executes operations on another one."""

from __future__ import annotations

from typing import TypeVar

from pgchroma.backends._async.base import AsyncBackend
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

__all__ = ("AsyncDelegatingBackend",)

R = TypeVar("R")


class AsyncDelegatingBackend:
    """Executes each operation on the backend that a subclass returns for it."""

    in_caller_transaction = False

    async def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; see `pgchroma.backends._async.base.AsyncBackend`."""
        return await (await self._delegate()).execute(operation)

    async def limits(self) -> Limits:
        """Return the limits of one request."""
        return await (await self._delegate()).limits()

    async def _delegate(self) -> AsyncBackend:
        raise NotImplementedError
