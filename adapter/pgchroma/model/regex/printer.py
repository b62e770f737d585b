"""Print the syntax tree in PostgreSQL's dialect, its advanced regular expressions (AREs).

The output does not depend on the collation or on the newline mode: sets of characters are written
as ranges of code points, and the anchors of lines as constraints on the neighbouring characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pgchroma.model.regex.charset import EVERYTHING, CharSet
from pgchroma.model.regex.edges import Edges
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
    untranslatable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("print_are",)

_DIRECTOR: Final = "***:"
"""Marks the rest as an ARE, so that a pattern's first characters are not read as another marker."""

_LARGEST_BOUND: Final = 255
"""PostgreSQL's largest number in a repetition, DUPMAX in its source."""

# PostgreSQL copies repeated parts. Above these limits, that takes more than a few tenths of a
# second; not far beyond, PostgreSQL raises an error. Optional copies of parts that may be empty are
# far worse than others.
_LARGEST_EXPANSION: Final = 5_000
_LARGEST_EMPTY_EXPANSION: Final = 250
_LARGEST_PATTERN: Final = 40_000
_MAX_OUTPUT_CHARACTERS: Final = 1_000_000

_PLACES: Final = {
    Place.TEXT_START: "^",
    Place.TEXT_END: "$",
    Place.LINE_START: r"(?:^|(?<=\n))",
    Place.LINE_END: r"(?:$|(?=\n))",
    Place.CRLF_LINE_START: r"(?:^|(?<=\n)|(?<=\r)(?!\n))",
    Place.CRLF_LINE_END: r"(?:$|(?=\r)|(?<!\r)(?=\n))",
}
_NEVER: Final = r"[^\u0001-\U0010ffff]"
_CONTROLS: Final = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r"}
_SPECIAL: Final = frozenset(map(ord, r"\.*+?()[]{}^$|"))
_SPECIAL_IN_BRACKETS: Final = frozenset(map(ord, r"\[]^-"))
_LAST_IN_FOUR_DIGITS: Final = 0xFFFF


def print_are(node: Node) -> str:
    """Return the ARE that matches the same texts as `node`, at least with the operator `~`.

    Raises:
        InvalidArgumentError: The pattern is too large for PostgreSQL.
    """
    printed = _print(node, Edges())
    if printed.size > _LARGEST_PATTERN:
        reason = f"with its repetitions written out it has {printed.size} elements"
        raise untranslatable("the pattern", 0, f"{reason}, more than {_LARGEST_PATTERN}")
    return _DIRECTOR + printed.text


def _check_length(length: int) -> None:
    if length > _MAX_OUTPUT_CHARACTERS:
        reason = f"its translation has more than {_MAX_OUTPUT_CHARACTERS} characters"
        raise untranslatable("the pattern", 0, reason)


class _Level(IntEnum):
    """The precedence of a piece of output."""

    BRANCHES = 0
    SEQUENCE = 1
    ATOM = 2


@dataclass(frozen=True, slots=True)
class _Printed:
    """The output for a node, with the properties that its context needs.

    Raises:
        InvalidArgumentError: The output is longer than a whole pattern may be.
    """

    text: str
    level: _Level = _Level.ATOM
    size: int = 1
    may_be_empty: bool = False
    always_empty: bool = False

    def __post_init__(self) -> None:
        _check_length(len(self.text))

    def at_level(self, level: _Level) -> str:
        """Return the text, in parentheses if its precedence requires them."""
        return self.text if self.level >= level else f"(?:{self.text})"


_EMPTY: Final = _Printed("", _Level.SEQUENCE, size=0, may_be_empty=True, always_empty=True)


def _print(node: Node, edges: Edges) -> _Printed:
    match node:
        case Chars(chars):
            return _Printed(_chars(chars))
        case Anchor(place):
            return _anchor(_PLACES[place])
        case WordAnchor():
            return _anchor(_word_anchor(node, None, None))
        case Group(body):
            return _print(body, edges)
        case Concat(parts):
            return _concat(parts, edges)
        case Alternation(branches):
            return _alternation(branches, edges)
        case Repeat():
            return _repeat(node, edges)


def _anchor(text: str) -> _Printed:
    return _Printed(text, _Level.SEQUENCE, may_be_empty=True, always_empty=True)


def _concat(parts: Sequence[Node], edges: Edges) -> _Printed:
    printed = []
    length = 0
    for part, before, after in zip(parts, *edges.neighbours(parts), strict=True):
        if isinstance(part, WordAnchor):
            printed.append(_anchor(_word_anchor(part, before, after)))
        else:
            printed.append(_print(part, edges))
        length += len(printed[-1].text)
        _check_length(length)
    if len(printed) == 1:
        return printed[0]
    return _Printed(
        "".join([each.at_level(_Level.SEQUENCE) for each in printed]),
        _Level.SEQUENCE,
        sum([each.size for each in printed]),
        all([each.may_be_empty for each in printed]),
        all([each.always_empty for each in printed]),
    )


def _alternation(branches: Sequence[Node], edges: Edges) -> _Printed:
    printed = []
    length = 0
    for branch in branches:
        printed.append(_print(branch, edges))
        length += len(printed[-1].text)
        _check_length(length)
    return _Printed(
        "|".join([each.text for each in printed]),
        _Level.BRANCHES,
        sum([each.size for each in printed]),
        any([each.may_be_empty for each in printed]),
        all([each.always_empty for each in printed]),
    )


def _repeat(node: Repeat, edges: Edges) -> _Printed:
    body = _print(node.body, edges)
    if body.always_empty or node.maximum == 0:
        # PostgreSQL refuses to repeat an anchor; once is equivalent.
        return body if node.minimum else _EMPTY
    count = max(1, node.minimum, node.maximum or 0)
    size = body.size * count
    limit = _LARGEST_EMPTY_EXPANSION if body.may_be_empty else _LARGEST_EXPANSION
    if count > 1 and size > limit:
        reason = f"it amounts to {size} elements, more than {limit}"
        raise untranslatable("the repetition", node.position, reason)
    return _Printed(
        _repeated(body.at_level(_Level.ATOM), node.minimum, node.maximum),
        _Level.SEQUENCE,
        size,
        may_be_empty=body.may_be_empty or node.minimum == 0,
    )


def _repeated(atom: str, minimum: int, maximum: int | None) -> str:
    """Repeat with bounds that PostgreSQL accepts, in several parts if necessary.

    Three hundred of `a` come out as `a{255}a{45}`, up to three hundred as `a{0,255}a{0,45}`.
    """
    if max(minimum, maximum or 0) <= _LARGEST_BOUND:
        return _quantified(atom, minimum, maximum)
    times, rest = divmod(minimum, _LARGEST_BOUND)
    required = _quantified(f"(?:{atom}{{{_LARGEST_BOUND}}})", times, times)
    required += _quantified(atom, rest, rest)
    if maximum is None:
        return required + atom + "*"
    times, rest = divmod(maximum - minimum, _LARGEST_BOUND)
    return required + _quantified(atom, 0, _LARGEST_BOUND) * times + _quantified(atom, 0, rest)


def _quantified(atom: str, minimum: int, maximum: int | None) -> str:
    match minimum, maximum:
        case 0, 0:
            return ""
        case 1, 1:
            return atom
        case 0, 1:
            return atom + "?"
        case 0, None:
            return atom + "*"
        case 1, None:
            return atom + "+"
        case _ if minimum == maximum:
            return f"{atom}{{{minimum}}}"
        case _:
            return f"{atom}{{{minimum},{'' if maximum is None else maximum}}}"


def _word_anchor(anchor: WordAnchor, before: CharSet | None, after: CharSet | None) -> str:
    r"""Constrain both sides of a word anchor, unless the pattern itself determines them.

    PostgreSQL's own `\y` cannot be used, because its words depend on the collation.
    """
    known_before, known_after = _is_word(before, anchor.word), _is_word(after, anchor.word)
    pairs = sorted(
        pair
        for pair in anchor.place.value
        if known_before in (None, pair[0]) and known_after in (None, pair[1])
    )
    befores, afters = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    if not pairs:
        return _NEVER
    word = _chars(anchor.word)
    if len(pairs) == len(befores) * len(afters):
        behind = _look("<", word, befores) if known_before is None else ""
        return behind + (_look("", word, afters) if known_after is None else "")
    branches = [_look("<", word, {one}) + _look("", word, {other}) for one, other in pairs]
    return f"(?:{'|'.join(branches)})"


def _look(direction: str, word: str, wanted: set[bool]) -> str:
    """Return a constraint on the character before or after; empty if any character is allowed."""
    if len(wanted) > 1:
        return ""
    return f"(?{direction}{'=' if True in wanted else '!'}{word})"


def _is_word(edge: CharSet | None, word: CharSet) -> bool | None:
    """Whether all (True) or none (False) of the characters are word characters."""
    return edge.is_within(word) if edge else None


@lru_cache(maxsize=512)
def _chars(chars: CharSet) -> str:
    """Return a character as itself, or a set as a bracket expression, negated if shorter."""
    if not chars:
        return _NEVER
    if chars == EVERYTHING:
        return "."
    single = chars.single()
    if single is not None:
        return _char(single, _SPECIAL)
    written, lacking = _brackets("", chars), _brackets("^", ~chars)
    return written if len(written) <= len(lacking) else lacking


def _brackets(negation: str, chars: CharSet) -> str:
    return f"[{negation}{''.join([_range(low, high) for low, high in chars.ranges])}]"


def _range(low: int, high: int) -> str:
    ends = [_char(end, _SPECIAL_IN_BRACKETS) for end in dict.fromkeys((low, high))]
    return ("" if high == low + 1 else "-").join(ends)


def _char(code_point: int, special: frozenset[int]) -> str:
    """Return a character unescaped if it is printable and has no special meaning in PostgreSQL."""
    char = chr(code_point)
    if code_point in special:
        return "\\" + char
    if char.isprintable():
        return char
    if code_point in _CONTROLS:
        return _CONTROLS[code_point]
    if code_point <= _LAST_IN_FOUR_DIGITS:
        return f"\\u{code_point:04x}"
    return f"\\U{code_point:08x}"
