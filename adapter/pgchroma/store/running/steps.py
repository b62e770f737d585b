"""A statement with its parameters, and how its text is composed."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeAlias, TypeVar

from psycopg import sql

__all__ = (
    "Attempt",
    "ComposedSQL",
    "Reads",
    "Rows",
    "Statement",
    "Step",
    "Steps",
    "Transaction",
    "WithSettings",
    "composed",
    "reading",
    "render",
    "text_of",
)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with named placeholders, and what they stand for.

    Attributes:
        reuses_plan: Whether PostgreSQL may keep a plan of it that holds for all parameters.
        prepares_at_once: Whether it is prepared before its first execution, because planning it
            takes as long as executing it.
    """

    text: bytes
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reuses_plan: bool = True
    prepares_at_once: bool = False


Rows: TypeAlias = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Transaction:
    """Several round trips as one transaction, or as one savepoint within the caller's own.

    What its steps return comes back in the place of rows.
    """

    steps: Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What `Transaction` is, of something that may fail: the handler goes on without it.

    What its steps return comes back in the place of rows, or the `psycopg.Error` that stopped
    it.
    """

    steps: Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class WithSettings:
    """A statement that only reads, under settings that hold for nothing else: one round trip.

    Its transaction, or its savepoint within the caller's own, is rolled back, and with it what
    was set.
    """

    settings: tuple[Statement, ...]
    statement: Statement


@dataclass(frozen=True, slots=True)
class Reads:
    """Several statements that only read, each with its settings: one round trip.

    The rows of each statement come back, in a list. They are one transaction, which is rolled
    back; a setting also holds for the statements that follow, unless they set it again.
    """

    reads: tuple[WithSettings, ...]


Step: TypeAlias = Statement | tuple[Statement, ...] | WithSettings | Reads | Transaction | Attempt
"""A statement, or several as one transaction of which the last one's rows come back: both one
round trip to PostgreSQL, and so is a statement with its settings, or several of them. Or a
transaction of several round trips, which the handler may survive."""

Steps: TypeAlias = Generator[Step, Any, R]
"""A handler at work: it yields steps, is sent their rows and returns the answer."""


def reading(statement: Statement, settings: tuple[Statement, ...]) -> Statement | WithSettings:
    """Return the step of a statement that only reads, with its settings if it has any."""
    return WithSettings(settings, statement) if settings else statement


class ComposedSQL(sql.Composable):
    """A clause that was rendered before."""

    def as_bytes(self, context: object = None) -> bytes:
        """Return the clause."""
        return bytes(self._obj)


def composed(clause: str) -> ComposedSQL:
    """Return a clause, whose names and literals are already quoted, as a part of a statement."""
    return ComposedSQL(clause.encode())


def render(template: LiteralString, **parts: sql.Composable) -> bytes:
    """Put identifiers, literals and clauses into the braces of `template`, quoted by psycopg."""
    return text_of(sql.SQL(template).format(**parts))


def text_of(part: sql.Composable) -> bytes:
    """Return the text of a statement or a clause.

    psycopg before 3.3 renders a `bytearray`, which is not a key that a plan can be kept by.
    """
    return bytes(part.as_bytes(None))
