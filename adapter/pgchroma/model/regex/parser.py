"""Rust's regular expressions, read into a syntax tree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pgchroma.model.regex.charset import EVERYTHING, NOTHING, CharSet, only
from pgchroma.model.regex.classes import NEST_LIMIT, read_class
from pgchroma.model.regex.escapes import fold, read_escape, require_unicode
from pgchroma.model.regex.reader import Flags, Reader
from pgchroma.model.regex.syntax import (
    Alternation,
    Anchor,
    Chars,
    Concat,
    Group,
    Node,
    Place,
    Repeat,
    WordAnchor,
    syntax_error,
)
from pgchroma.model.regex.unicode import unicode_property

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("parse",)

_FLAG_NAMES: Final = {
    "i": "ignore_case",
    "m": "multi_line",
    "s": "dot_all",
    "R": "crlf",
    "u": "unicode",
    "x": "verbose",
}
# Swapping the greediness of all repetitions is accepted, and means nothing here.
_SWAP_GREED: Final = "U"
_SIMPLE_REPETITIONS: Final[dict[str, tuple[int, int | None]]] = {
    "?": (0, 1),
    "*": (0, None),
    "+": (1, None),
}
_LOOK_AROUND: Final = ("?=", "?!", "?<=", "?<!")
_NO_LINE_FEED: Final = ~CharSet.parse("A")
_NO_CRLF: Final = ~CharSet.parse("A D")
_LARGEST_COUNT: Final = 2**32 - 1
_NOTHING_TO_REPEAT: Final = "repetition operator without an expression"
_UNCLOSED_GROUP: Final = "unclosed group"
_UNCLOSED_NAME: Final = "unclosed capture group name"
_UNCLOSED_COUNT: Final = "unclosed counted repetition"


def parse(pattern: str) -> Node:
    """The syntax tree of a pattern.

    Raises:
        InvalidArgumentError: The pattern is not in Rust's syntax, or has a part without counterpart
            in PostgreSQL.
    """
    return _Parser(pattern).parse()


@dataclass(slots=True)
class _OpenGroup:
    """A group, or the whole pattern, of which the end has not been seen yet."""

    position: int
    outer_flags: Flags
    branches: list[Node] = field(default_factory=list)
    parts: list[Node] = field(default_factory=list)
    repeatable: bool = False

    def end_branch(self) -> None:
        """Build a branch from the parts read since the last `|`."""
        self.branches.append(self.parts[0] if len(self.parts) == 1 else Concat(tuple(self.parts)))
        self.parts = []
        self.repeatable = False

    def content(self) -> Node:
        """What the group came to."""
        self.end_branch()
        return self.branches[0] if len(self.branches) == 1 else Alternation(tuple(self.branches))


class _Parser:
    """Keeps open groups on an explicit stack, so that no pattern can exhaust Python's."""

    def __init__(self, pattern: str) -> None:
        self._reader = Reader(pattern)
        self._groups = [_OpenGroup(0, self._reader.flags)]
        self._names: set[str] = set()

    def parse(self) -> Node:
        self._reader.skip_space()
        while self._reader.char:
            self._element()
            self._reader.skip_space()
        if len(self._groups) > 1:
            raise syntax_error(_UNCLOSED_GROUP, self._groups[-1].position)
        root = self._groups[0].content()
        _check_depth(root)
        return root

    def _element(self) -> None:
        match self._reader.char:
            case "(":
                self._open_group()
            case ")":
                self._close_group()
            case "|":
                self._groups[-1].end_branch()
                self._reader.advance()
            case "?" | "*" | "+":
                self._simple_repetition()
            case "{":
                self._counted_repetition()
            case _:
                self._push(self._atom())

    def _push(self, node: Node) -> None:
        self._groups[-1].parts.append(node)
        self._groups[-1].repeatable = True

    def _atom(self) -> Node:
        reader = self._reader
        match reader.char:
            case "[":
                return Chars(read_class(reader))
            case "\\":
                return self._escape()
            case ".":
                node: Node = self._dot()
            case "^":
                node = Anchor(_line_start(reader.flags))
            case "$":
                node = Anchor(_line_end(reader.flags))
            case char:
                node = self._literal(ord(char))
        reader.advance()
        return node

    def _escape(self) -> Node:
        match read_escape(self._reader):
            case int(code_point):
                return self._literal(code_point)
            case CharSet() as chars:
                return Chars(chars)
            case (Anchor() | WordAnchor()) as anchor:
                return anchor

    def _literal(self, code_point: int) -> Chars:
        return Chars(fold(self._reader, only(code_point)))

    def _dot(self) -> Chars:
        require_unicode(self._reader, self._reader.position)
        flags = self._reader.flags
        if flags.dot_all:
            return Chars(EVERYTHING)
        return Chars(_NO_CRLF if flags.crlf else _NO_LINE_FEED)

    def _open_group(self) -> None:
        reader = self._reader
        start, outer_flags = reader.position, reader.flags
        reader.advance_beyond_space()
        if any(map(reader.at, _LOOK_AROUND)):
            raise syntax_error("look-around is not supported: it stands", start)
        if reader.advance_if("?P<") or reader.advance_if("?<"):
            self._group_name()
        elif reader.advance_if("?"):
            reader.expect_more(_UNCLOSED_GROUP, start)
            reader.flags = self._flags()
            if reader.advance_if(")"):
                self._flags_alone(start)
                return
            reader.advance()
        self._groups.append(_OpenGroup(start, outer_flags))
        if len(self._groups) > NEST_LIMIT + 1:
            raise syntax_error(f"groups nested deeper than {NEST_LIMIT}", start)

    def _flags_alone(self, start: int) -> None:
        """Flags without a colon hold to the end of the group, and are nothing to repeat."""
        if self._reader.pattern[self._reader.position - 2] == "?":
            raise syntax_error(_NOTHING_TO_REPEAT, start + 1)
        self._groups[-1].repeatable = False

    def _close_group(self) -> None:
        position = self._reader.position
        self._reader.advance()
        if len(self._groups) == 1:
            raise syntax_error("unopened group", position)
        group = self._groups.pop()
        self._reader.flags = group.outer_flags
        self._push(Group(group.content()))

    def _group_name(self) -> None:
        reader = self._reader
        start = reader.position
        while reader.char != ">":
            reader.expect_more(_UNCLOSED_NAME, start)
            if not _may_be_in_name(reader.char, first=reader.position == start):
                raise syntax_error("invalid character in a capture group name", reader.position)
            reader.advance()
        name = reader.pattern[start : reader.position]
        reader.advance()
        if not name:
            raise syntax_error("empty capture group name", start)
        if name in self._names:
            raise syntax_error(f"duplicate capture group name {name!r}", start)
        self._names.add(name)

    def _flags(self) -> Flags:
        """Read flags up to a colon or closing parenthesis, and leave the cursor on it."""
        reader = self._reader
        start, seen, changes = reader.position, set[str](), dict[str, bool]()
        while reader.char not in (":", ")"):
            reader.expect_more("flags without an end", start)
            flag = reader.char
            if flag not in _FLAG_NAMES and flag not in ("-", _SWAP_GREED):
                raise syntax_error(f"unrecognized flag {flag!r}", reader.position)
            if flag in seen:
                raise syntax_error(f"repeated flag {flag!r}", reader.position)
            if flag in _FLAG_NAMES:
                changes[_FLAG_NAMES[flag]] = "-" not in seen
            seen.add(flag)
            reader.advance()
        if reader.position > start and reader.pattern[reader.position - 1] == "-":
            raise syntax_error("negation without a flag", reader.position - 1)
        return replace(reader.flags, **changes)

    def _simple_repetition(self) -> None:
        start = self._reader.position
        minimum, maximum = _SIMPLE_REPETITIONS[self._reader.char]
        self._reader.advance()
        self._reader.advance_if("?")
        self._repeat(minimum, maximum, start)

    def _counted_repetition(self) -> None:
        reader = self._reader
        start = reader.position
        reader.advance_beyond_space()
        reader.expect_more(_UNCLOSED_COUNT, start)
        minimum = self._count()
        maximum: int | None = minimum
        if reader.char == ",":
            reader.advance_beyond_space()
            reader.expect_more(_UNCLOSED_COUNT, start)
            maximum = None if reader.char == "}" else self._count()
        if reader.char != "}":
            raise syntax_error(_UNCLOSED_COUNT, start)
        reader.advance_beyond_space()
        reader.advance_if("?")
        if maximum is not None and minimum > maximum:
            raise syntax_error("invalid repetition, whose start is beyond its end,", start)
        self._repeat(minimum, maximum, start)

    def _count(self) -> int:
        """Read a number, around which Rust allows white space whatever the flags."""
        reader = self._reader
        while reader.at_white_space():
            reader.advance()
        start, digits = reader.position, ""
        while "0" <= reader.char <= "9":
            digits += reader.char
            reader.advance_beyond_space()
        while reader.at_white_space():
            reader.advance_beyond_space()
        if not digits:
            raise syntax_error("repetition without a number", start)
        significant = digits.lstrip("0") or "0"
        if len(significant) > len(str(_LARGEST_COUNT)) or int(significant) > _LARGEST_COUNT:
            raise syntax_error("repetition with too large a number", start)
        return int(significant)

    def _repeat(self, minimum: int, maximum: int | None, start: int) -> None:
        group = self._groups[-1]
        if not group.repeatable:
            raise syntax_error(_NOTHING_TO_REPEAT, start)
        group.parts[-1] = Repeat(group.parts[-1], minimum, maximum, start)


def _line_start(flags: Flags) -> Place:
    if not flags.multi_line:
        return Place.TEXT_START
    return Place.CRLF_LINE_START if flags.crlf else Place.LINE_START


def _line_end(flags: Flags) -> Place:
    if not flags.multi_line:
        return Place.TEXT_END
    return Place.CRLF_LINE_END if flags.crlf else Place.LINE_END


def _may_be_in_name(char: str, *, first: bool) -> bool:
    if char.isascii():
        return char.isalpha() or char == "_" or (not first and (char.isdigit() or char in ".[]"))
    alphabetic = unicode_property("Alphabetic") or NOTHING
    return ord(char) in alphabetic or (not first and char.isnumeric())


def _check_depth(root: Node) -> None:
    """Refuse what Rust refuses, and what those who walk the tree recursively could not walk."""
    pending = [(root, 0)]
    while pending:
        node, depth = pending.pop()
        below = _children(node)
        if below and depth >= NEST_LIMIT:
            raise syntax_error(f"expressions nested deeper than {NEST_LIMIT}", 0)
        pending.extend((child, depth + 1) for child in below)


def _children(node: Node) -> Iterable[Node]:
    match node:
        case Concat(children) | Alternation(children):
            return children
        case Group(child) | Repeat(child):
            return (child,)
        case _:
            return ()
