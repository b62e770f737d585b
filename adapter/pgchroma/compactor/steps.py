"""Steps of a compaction pass, besides those of the store's handlers.

A pass is a generator that yields steps and is sent their rows, as a handler is. It runs on two
connections (`pgchroma.compactor.session`), so its steps can also say as which role they run and
whether they may wait for locks. An error of a step is raised where the step was yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from pgchroma.store.running.steps import Statement, Step, Steps

__all__ = (
    "AsRole",
    "IndexDDL",
    "PassStep",
    "PassSteps",
    "Pause",
    "Uninterruptible",
    "as_role",
    "uninterruptible",
)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class AsRole:
    """A step that runs as a role; as the login user if the role is `None`."""

    role: str | None
    step: Step


@dataclass(frozen=True, slots=True)
class IndexDDL:
    """A statement that builds or drops an index. It may wait for locks without a time limit.

    Attributes:
        on_progress: Called with the number of rows that a build has read.
    """

    statement: Statement
    on_progress: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Uninterruptible:
    """A step that is run to its end: a lock that was taken must not be forgotten."""

    step: Step


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait without a statement. It raises `BuildInterruptedError` if the compactor stops."""

    seconds: float = 0.0


PassStep: TypeAlias = Step | AsRole | IndexDDL | Uninterruptible | Pause
"""A step of a pass. Every step but `AsRole` runs as the login user."""

PassSteps: TypeAlias = Generator[PassStep, Any, R]
"""A compaction pass, or a part of one, which returns an `R`."""


def as_role(role: str | None, steps: Steps[R]) -> PassSteps[R]:
    """Run a handler as a role."""
    return _wrapped(partial(AsRole, role), steps)


def uninterruptible(steps: Steps[R]) -> PassSteps[R]:
    """Run each step of a handler to its end."""
    return _wrapped(Uninterruptible, steps)


def _wrapped(wrap: Callable[[Step], PassStep], steps: Steps[R]) -> PassSteps[R]:
    try:
        step = next(steps)
        while True:
            try:
                answer = yield wrap(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: R = done.value
        return result
