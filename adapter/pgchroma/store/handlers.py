"""The registry of handlers: the function that answers each operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from pgchroma.model.operations import Operation
from pgchroma.store.context import StoreContext
from pgchroma.store.running.steps import Steps

__all__ = ("Handler", "handlers", "handles")

R = TypeVar("R")
O = TypeVar("O", bound=Operation[Any])  # noqa: E741

Handler: TypeAlias = Callable[[Any, StoreContext], Steps[Any]]

handlers: dict[type[Operation[Any]], Handler] = {}
"""The handler of every operation, by the operation's class."""


def handles(
    operation: type[O],
) -> Callable[[Callable[[O, StoreContext], Steps[R]]], Callable[[O, StoreContext], Steps[R]]]:
    """Make the decorated generator function the handler of an operation."""

    def register(
        handler: Callable[[O, StoreContext], Steps[R]],
    ) -> Callable[[O, StoreContext], Steps[R]]:
        handlers[operation] = handler
        return handler

    return register
