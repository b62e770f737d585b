# Generated from _async/delegating.py by tools/unasync.py; edit that and run `make fmt`.
"""A backend that executes operations on another one."""

from __future__ import annotations

from typing import TypeVar

from pgchroma.backends._sync.base import Backend
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

__all__ = ("DelegatingBackend",)

R = TypeVar("R")


class DelegatingBackend:
    """Executes each operation on the backend that a subclass returns for it."""

    in_caller_transaction = False

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; see `pgchroma.backends._sync.base.Backend`."""
        return (self._delegate()).execute(operation)

    def limits(self) -> Limits:
        """Return the limits of one request."""
        return (self._delegate()).limits()

    def _delegate(self) -> Backend:
        raise NotImplementedError
