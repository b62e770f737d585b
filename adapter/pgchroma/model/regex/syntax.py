"""The syntax tree between the two dialects, and the errors for unsupported syntax."""

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
"""Maximum number of characters of a pattern in a message."""


class Place(Enum):
    """An anchor at an end of the text or of a line."""

    TEXT_START = "start of text"
    TEXT_END = "end of text"
    LINE_START = "start of line"
    LINE_END = "end of line"
    CRLF_LINE_START = "start of line, lines ending in CR, LF or both"
    CRLF_LINE_END = "end of line, lines ending in CR, LF or both"


class WordPlace(Enum):
    """A word anchor: pairs of whether a word character is before and after it."""

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
    """An anchor in the text or line."""

    place: Place


@dataclass(frozen=True, slots=True)
class WordAnchor:
    """An anchor relative to words, which consist of the characters in `word`."""

    place: WordPlace
    word: CharSet


@dataclass(frozen=True, slots=True)
class Group:
    """A group in parentheses; kept because Rust counts it as a level of nesting."""

    body: Node


@dataclass(frozen=True, slots=True)
class Concat:
    """A concatenation; without parts, the empty match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternation:
    """An alternation."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`body` repeated from `minimum` to `maximum` times; `None` means no limit.

    Greediness is not stored: it decides where a match ends, but not whether there is one.
    """

    body: Node
    minimum: int
    maximum: int | None
    position: int


Node: TypeAlias = Chars | Anchor | WordAnchor | Group | Concat | Alternation | Repeat


def syntax_error(what: str, position: int) -> InvalidArgumentError:
    """Raise the error for a pattern that Rust does not accept either."""
    return InvalidArgumentError(f"Regex syntax error: {what[:_SHOWN]} at position {position}")


def untranslatable(what: str, position: int, reason: str) -> InvalidArgumentError:
    """Raise the error for a pattern that Rust accepts, but that has no equivalent in PostgreSQL."""
    return InvalidArgumentError(
        f"Regex syntax error: {what[:_SHOWN]} at position {position} cannot be expressed for "
        f"PostgreSQL: {reason}"
    )
