"""Parse bracketed classes directly into sets of characters."""

from __future__ import annotations

import re
from operator import and_, sub, xor
from typing import TYPE_CHECKING, Final, assert_never

from pgchroma.model.regex.charset import NOTHING, CharSet, only
from pgchroma.model.regex.escapes import fold, read_escape, require_unicode
from pgchroma.model.regex.syntax import Anchor, WordAnchor, syntax_error
from pgchroma.model.regex.unicode import ASCII_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgchroma.model.regex.reader import Reader

__all__ = ("NEST_LIMIT", "read_class")

NEST_LIMIT: Final = 250
"""Rust's maximum nesting of brackets, groups and repetitions."""

_UNCLOSED: Final = "unclosed character class"
_OPERATORS: Final[dict[str, Callable[[CharSet, CharSet], CharSet]]] = {
    "&&": and_,
    "--": sub,
    "~~": xor,
}
_ASCII_CLASS: Final = re.compile(rf"\[:(\^?)({'|'.join(ASCII_CLASSES)}):\]")
_LAST_ASCII: Final = 0x7F
_PASSES: Final = 4
"""How often an operator iterates over its sets."""


def read_class(reader: Reader, depth: int = 1) -> CharSet:
    """Parse a class; the cursor is on its opening bracket."""
    start = reader.position
    if depth > NEST_LIMIT:
        raise syntax_error(f"brackets nested deeper than {NEST_LIMIT}", start)
    reader.advance_beyond_space()
    negated = reader.char == "^"
    if negated:
        require_unicode(reader, start)
        reader.advance_beyond_space()
    # Merged at the end: with a set for each item, a long class would take quadratic time.
    items = [_leading_literals(reader)]
    left, operator = NOTHING, ""
    while reader.char != "]":
        reader.expect_more(_UNCLOSED, start)
        if found := _operator(reader):
            left, operator = _combined(reader, left, operator, items), found
            items = []
        elif reader.char == "[":
            items.append(_ascii_class(reader) or read_class(reader, depth + 1))
        else:
            items.append(_item(reader, start))
        reader.skip_space()
    reader.advance()
    chars = fold(reader, _combined(reader, left, operator, items))
    return _complement(reader, chars) if negated else chars


def _leading_literals(reader: Reader) -> CharSet:
    """Return the literal hyphens, or the literal closing bracket, at the start."""
    chars = NOTHING
    while reader.char == "-":
        chars = only(ord("-"))
        reader.advance_beyond_space()
    if not chars and reader.char == "]":
        chars = only(ord("]"))
        reader.advance_beyond_space()
    return chars


def _operator(reader: Reader) -> str:
    """Advance past an operator between sets, if one comes next."""
    found = next(filter(reader.at, _OPERATORS), "")
    reader.advance(len(found))
    return found


def _combined(reader: Reader, left: CharSet, operator: str, items: list[CharSet]) -> CharSet:
    right = _union(reader, items)
    if not operator:
        return right
    left, right = fold(reader, left), fold(reader, right)
    reader.spend(_PASSES * (len(left.ranges) + len(right.ranges)))
    return _OPERATORS[operator](left, right)


def _union(reader: Reader, items: list[CharSet]) -> CharSet:
    items = [item for item in items if item]
    if len(items) == 1:
        return items[0]
    ranges = [range for item in items for range in item.ranges]
    reader.spend(len(ranges))
    return CharSet.of(*ranges)


def _complement(reader: Reader, chars: CharSet) -> CharSet:
    reader.spend(len(chars.ranges))
    return ~chars


def _ascii_class(reader: Reader) -> CharSet | None:
    """Parse a class such as `[:alpha:]`; anything but an exact name is a nested class."""
    found = _ASCII_CLASS.match(reader.pattern, reader.position)
    if not found:
        return None
    if found[1]:
        require_unicode(reader, reader.position)
    reader.advance(len(found[0]))
    chars = fold(reader, ASCII_CLASSES[found[2]])
    return _complement(reader, chars) if found[1] else chars


def _item(reader: Reader, start: int) -> CharSet:
    """Parse a character, a range or an escaped set."""
    item_start = reader.position
    low = _member(reader)
    reader.skip_space()
    reader.expect_more(_UNCLOSED, start)
    if reader.char != "-" or reader.next_char_beyond_space in ("]", "-"):
        return only(low) if isinstance(low, int) else low
    reader.advance_beyond_space()
    reader.expect_more(_UNCLOSED, start)
    high = _member(reader)
    if not isinstance(low, int) or not isinstance(high, int):
        raise syntax_error("invalid range boundary, which must be a character,", item_start)
    if low > high:
        raise syntax_error("invalid character range, whose start is beyond its end,", item_start)
    return CharSet.of((low, high))


def _member(reader: Reader) -> int | CharSet:
    start = reader.position
    if reader.char == "\\":
        member = read_escape(reader)
    else:
        member = ord(reader.char)
        reader.advance()
    match member:
        case CharSet():
            return member
        case int():
            if member > _LAST_ASCII and not reader.flags.unicode:
                raise syntax_error("Unicode character where the flag u is off", start)
            return member
        case Anchor() | WordAnchor():
            raise syntax_error("invalid escape sequence in a character class", start)
        case _:
            assert_never(member)
