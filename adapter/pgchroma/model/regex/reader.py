"""The pattern as a stream of characters, with the flags at the current position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgchroma.model.regex.syntax import syntax_error, untranslatable
from pgchroma.model.regex.unicode import WHITE_SPACE

if TYPE_CHECKING:
    from pgchroma.model.regex.charset import CharSet

__all__ = ("Flags", "Reader")

_MAX_RANGES: Final = 200_000
"""Maximum number of character ranges in the classes of a pattern, which take some tenths of a
second. Intersections and nested classes of large sets need many ranges per character of the
pattern."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that change what a pattern matches; `U`, which swaps greediness, does not."""

    ignore_case: bool = False
    multi_line: bool = False
    dot_all: bool = False
    crlf: bool = False
    unicode: bool = True
    verbose: bool = False


class Reader:
    """A cursor over a pattern that skips white space and comments if the flag `x` is set."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.flags = Flags()
        self.folded: dict[CharSet, CharSet] = {}
        """The sets that were closed under case, which takes long, to what they came to."""
        self._ranges = 0

    def spend(self, ranges: int) -> None:
        """Count the ranges that a set is computed from.

        Raises:
            InvalidArgumentError: The pattern's sets have too many ranges.
        """
        self._ranges += ranges
        if self._ranges > _MAX_RANGES:
            reason = f"they are made from more than {_MAX_RANGES} ranges of characters"
            raise untranslatable("the pattern's character classes", 0, reason)

    @property
    def char(self) -> str:
        """The character under the cursor; empty at the end."""
        return self.pattern[self.position : self.position + 1]

    @property
    def next_char_beyond_space(self) -> str:
        """The character after the one under the cursor; empty at the end.

        Characters that the flag `x` makes insignificant are skipped.
        """
        start = self.position
        self.advance_beyond_space()
        char, self.position = self.char, start
        return char

    def at(self, text: str) -> bool:
        """Whether `text` comes next."""
        return self.pattern.startswith(text, self.position)

    def advance(self, by: int = 1) -> None:
        """Advance without skipping anything."""
        self.position = min(self.position + by, len(self.pattern))

    def advance_if(self, text: str) -> bool:
        """Advance past `text` if it comes next, and return whether it did."""
        found = self.at(text)
        if found:
            self.advance(len(text))
        return found

    def advance_beyond_space(self) -> None:
        """Advance by one, and then to the next significant character."""
        self.advance()
        self.skip_space()

    def skip_space(self) -> None:
        """Advance to the next significant character; without the flag `x` all are."""
        if not self.flags.verbose:
            return
        while self.char:
            if self.char == "#":
                line_end = self.pattern.find("\n", self.position)
                self.position = len(self.pattern) if line_end < 0 else line_end + 1
            elif self.at_white_space():
                self.advance()
            else:
                return

    def at_white_space(self) -> bool:
        """Whether the character under the cursor is white space, significant or not."""
        return self.char != "" and ord(self.char) in WHITE_SPACE

    def expect_more(self, what: str, start: int) -> None:
        """Raise if the pattern ends within `what`, which began at `start`."""
        if not self.char:
            raise syntax_error(what, start)
