"""Waiting for the driver, in the caller's thread, which also does long work.

`_async/io.py` has the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from psycopg import Cursor
from psycopg.abc import Transformer

from pgchroma.model.operations import Operation
from pgchroma.store.running.steps import Rows, Step, Steps

__all__ = ("RETURNED", "fetch", "has_many_rows", "in_thread", "is_heavy", "load", "send_in_thread")

P = ParamSpec("P")
T = TypeVar("T")

RETURNED: Final = StopIteration
"""Raised when a handler has returned; `value` is its answer."""


def is_heavy(_: Operation[Any], *, has_proposers: bool = False) -> bool:
    """Whether an operation has to be kept off an event loop: there is none."""
    return False


def has_many_rows(_: Any) -> bool:
    """Whether a handler has to be kept off an event loop: there is none."""
    return False


def send_in_thread(steps: Steps[Any], answer: Any) -> Step:
    """Send a handler an answer, and return its next step."""
    return steps.send(answer)


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work."""
    return work(*args, **kwargs)


def fetch(cursor: Cursor[Any]) -> Rows:
    """Return the rows of an executed statement."""
    return cursor.fetchall() if cursor.description is not None else ()


def load(transformer: Transformer, count: int) -> Rows:
    """Return the rows of a transformer's result."""
    return transformer.load_rows(0, count, tuple)
