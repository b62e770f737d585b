"""The seam: whatever answers operations. Direct and HTTP differ behind it and nowhere else."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

__all__ = ("AsyncBackend", "Backend")

R = TypeVar("R")


class Backend(Protocol):
    """Answers operations, one at a time for each thread that asks."""

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        ...

    def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out and return its answer.

        Raises:
            ChromaError: It could not be carried out; then nothing was changed.
        """
        ...

    def limits(self) -> Limits:
        """Tell what one request may carry."""
        ...

    def close(self) -> None:
        """Let go of connections; a closed backend answers nothing. Closing twice is no fault."""
        ...


class AsyncBackend(Protocol):
    """Answers operations for an event loop."""

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        ...

    async def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out and return its answer.

        Raises:
            ChromaError: It could not be carried out; then nothing was changed.
        """
        ...

    async def limits(self) -> Limits:
        """Tell what one request may carry."""
        ...

    async def close(self) -> None:
        """Let go of connections; closing twice is no fault."""
        ...
