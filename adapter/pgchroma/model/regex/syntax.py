"""The syntax tree between the two dialects, and the errors for what has no place in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from pgchroma.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgchroma.model.regex.charset import CharSet

__all__ = (
    "Alternation",
    "Anchor",
    "Chars",
    "Concat",
    "Group",
    "Node",
    "Place",
    "Repeat",
    "WordAnchor",
    "WordPlace",
    "syntax_error",
    "untranslatable",
)


_SHOWN = 200
"""Characters of a pattern's part that a message shows."""


class Place(Enum):
    """Where an anchor holds that looks at the ends of the text or of its lines."""

    TEXT_START = "start of text"
    TEXT_END = "end of text"
    LINE_START = "start of line"
    LINE_END = "end of line"
    CRLF_LINE_START = "start of line, lines ending in CR, LF or both"
    CRLF_LINE_END = "end of line, lines ending in CR, LF or both"


class WordPlace(Enum):
    """Where a word anchor holds: pairs of whether a word character is before and after it."""

    BOUNDARY = frozenset({(False, True), (True, False)})
    NO_BOUNDARY = frozenset({(False, False), (True, True)})
    START = frozenset({(False, True)})
    END = frozenset({(True, False)})
    START_HALF = frozenset({(False, False), (False, True)})
    END_HALF = frozenset({(False, False), (True, False)})


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set; out of the empty set, it never matches."""

    chars: CharSet


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place in the text or line."""

    place: Place


@dataclass(frozen=True, slots=True)
class WordAnchor:
    """A place relative to words, which are made of the characters in `word`."""

    place: WordPlace
    word: CharSet


@dataclass(frozen=True, slots=True)
class Group:
    """What stood in parentheses; kept only because Rust counts them as a level of nesting."""

    body: Node


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other; without parts, the empty match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternation:
    """One of several."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`body` from `minimum` to `maximum` times, None standing for no limit.

    There is no word on greediness, which decides where a match ends but not whether there is one.
    """

    body: Node
    minimum: int
    maximum: int | None
    position: int


Node: TypeAlias = Chars | Anchor | WordAnchor | Group | Concat | Alternation | Repeat


def syntax_error(what: str, position: int) -> InvalidArgumentError:
    """The error for a pattern which Rust would not accept either."""
    return InvalidArgumentError(f"Regex syntax error: {what[:_SHOWN]} at position {position}")


def untranslatable(what: str, position: int, reason: str) -> InvalidArgumentError:
    """The error for what Rust accepts and PostgreSQL cannot be told."""
    return InvalidArgumentError(
        f"Regex syntax error: {what[:_SHOWN]} at position {position} cannot be expressed for "
        f"PostgreSQL: {reason}"
    )
