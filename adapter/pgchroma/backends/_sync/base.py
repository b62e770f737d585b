# Generated from _async/base.py by tools/unasync.py; edit that and run `make fmt`.
"""The seam: what executes operations. Direct and HTTP differ behind it and nowhere else."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

__all__ = ("Backend",)

R = TypeVar("R")


class Backend(Protocol):
    """Executes operations; several threads or tasks may use it at once."""

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        ...

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation and return its answer.

        Raises:
            ChromaError: The operation failed; then nothing was changed.
        """
        ...

    def limits(self) -> Limits:
        """Return the limits of one request."""
        ...

    def close(self) -> None:
        """Release connections. A closed backend executes nothing; it may be closed again."""
        ...
