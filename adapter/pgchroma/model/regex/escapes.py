"""Parse escape sequences."""

from __future__ import annotations

from typing import Final, TypeAlias

from pgchroma.model.regex.charset import CharSet
from pgchroma.model.regex.reader import Reader
from pgchroma.model.regex.syntax import (
    Anchor,
    Place,
    WordAnchor,
    WordPlace,
    syntax_error,
    untranslatable,
)
from pgchroma.model.regex.unicode import ascii_perl_class, perl_class, unicode_property

__all__ = ("Escape", "fold", "read_escape", "require_unicode")

Escape: TypeAlias = int | CharSet | Anchor | WordAnchor
"""A code point, a set of characters or an anchor."""

_CONTROLS: Final = {"a": 0x07, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_HEX_DIGITS: Final = {"x": 2, "u": 4, "U": 8}
_NAMED_WORD_PLACES: Final = {
    "start": WordPlace.START,
    "end": WordPlace.END,
    "start-half": WordPlace.START_HALF,
    "end-half": WordPlace.END_HALF,
}
_UNFINISHED: Final = "incomplete escape sequence"
_NO_TABLE: Final = (
    "it is none of the general categories, scripts and properties for which there is a table"
)
_LAST_ASCII: Final = 0x7F
_CASED: Final = 3_000
"""About the number of letters with a case, which bounds the iteration over a set."""
_LAST_CODE_POINT: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


def read_escape(reader: Reader) -> Escape:
    """Parse an escape sequence; the cursor is on its backslash."""
    start = reader.position
    reader.advance()
    reader.expect_more(_UNFINISHED, start)
    char = reader.char
    match char:
        case "x" | "u" | "U":
            return _hexadecimal(reader, start)
        case "p" | "P":
            return _property(reader, start)
        case "d" | "s" | "w" | "D" | "S" | "W":
            return _perl_class(reader, start)
        case _ if "0" <= char <= "9":
            raise syntax_error(rf"backreferences such as \{char} are not supported", start)
        case _:
            reader.advance()
            return _single(reader, char, start)


def fold(reader: Reader, chars: CharSet) -> CharSet:
    """Return `chars`, closed under case if the flag `i` is set."""
    if not reader.flags.ignore_case:
        return chars
    if not reader.flags.unicode:
        reader.spend(len(chars.ranges))
        return chars.folded_ascii()
    if chars not in reader.folded:
        reader.spend(min(chars.size(), _CASED))
        reader.folded[chars] = chars.folded()
    return reader.folded[chars]


def require_unicode(reader: Reader, start: int) -> None:
    """Raise if the flag `u` is off and the set then has bytes that are not whole characters."""
    if not reader.flags.unicode:
        raise syntax_error("pattern can match invalid UTF-8", start)


def _single(reader: Reader, char: str, start: int) -> Escape:
    """Parse an escape of one letter or one punctuation character."""
    match char:
        case "A":
            return Anchor(Place.TEXT_START)
        case "z":
            return Anchor(Place.TEXT_END)
        case "b":
            named = _named_word_place(reader, start)
            return WordAnchor(named or WordPlace.BOUNDARY, _word(reader))
        case "B":
            return WordAnchor(WordPlace.NO_BOUNDARY, _word(reader))
        case "<":
            return WordAnchor(WordPlace.START, _word(reader))
        case ">":
            return WordAnchor(WordPlace.END, _word(reader))
        case _ if char in _CONTROLS:
            return _CONTROLS[char]
        case _ if char.isascii() and not char.isalnum():
            return ord(char)
        case _:
            raise syntax_error(rf"unrecognized escape sequence \{char}", start)


def _word(reader: Reader) -> CharSet:
    return perl_class("w") if reader.flags.unicode else ascii_perl_class("w")


def _named_word_place(reader: Reader, start: int) -> WordPlace | None:
    r"""Return the anchor of `\b{name}`; `None`, with the cursor on the brace, for a repetition."""
    if reader.char != "{":
        return None
    brace = reader.position
    reader.advance_beyond_space()
    reader.expect_more("unclosed word boundary or repetition", brace)
    name = ""
    while reader.char.isascii() and (reader.char.isalpha() or reader.char == "-"):
        name += reader.char
        reader.advance_beyond_space()
    if not name:
        reader.position = brace
        return None
    if reader.char != "}":
        raise syntax_error(rf"unclosed word boundary \b{{{name}", start)
    reader.advance()
    if name not in _NAMED_WORD_PLACES:
        raise syntax_error(rf"unrecognized word boundary \b{{{name}}}", start)
    return _NAMED_WORD_PLACES[name]


def _perl_class(reader: Reader, start: int) -> CharSet:
    letter = reader.char
    reader.advance()
    kind = letter.lower()
    chars = perl_class(kind) if reader.flags.unicode else ascii_perl_class(kind)
    if letter == kind:
        return chars
    require_unicode(reader, start)
    reader.spend(len(chars.ranges))
    return ~chars


def _property(reader: Reader, start: int) -> CharSet:
    negated = reader.char == "P"
    reader.advance_beyond_space()
    reader.expect_more(_UNFINISHED, start)
    name = _property_name(reader, start)
    if not reader.flags.unicode:
        raise syntax_error("Unicode property where the flag u is off", start)
    # Both kinds of negation are applied last, to the set closed under case.
    key, unequal, value = name.partition("!=")
    negated ^= bool(unequal)
    chars = unicode_property(f"{key}={value}" if unequal else name)
    reader.spend(len(chars.ranges) if negated and chars else 0)
    if chars is None:
        raise untranslatable(rf"the Unicode property \p{{{name}}}", start, _NO_TABLE)
    chars = fold(reader, chars)
    return ~chars if negated else chars


def _property_name(reader: Reader, start: int) -> str:
    if reader.char == "\\":
        raise syntax_error("invalid Unicode property", start)
    if reader.char != "{":
        name = reader.char
        reader.advance_beyond_space()
        return name
    name = _braced(reader, start)
    reader.advance()
    return name


def _braced(reader: Reader, start: int) -> str:
    """Return the text between braces; the cursor is left on the closing one."""
    content = ""
    reader.advance_beyond_space()
    while reader.char != "}":
        reader.expect_more(_UNFINISHED, start)
        content += reader.char
        reader.advance_beyond_space()
    return content


def _hexadecimal(reader: Reader, start: int) -> int:
    kind = reader.char
    reader.advance_beyond_space()
    if reader.char == "{":
        digits = _braced(reader, start)
        reader.advance_beyond_space()
        return _code_point(digits, start)
    code_point = _code_point(_fixed_digits(reader, _HEX_DIGITS[kind], start), start)
    if kind == "x" and code_point > _LAST_ASCII:
        # Without Unicode mode this is a byte, which alone is not UTF-8.
        require_unicode(reader, start)
    return code_point


def _fixed_digits(reader: Reader, count: int, start: int) -> str:
    digits = ""
    for _ in range(count):
        reader.expect_more(_UNFINISHED, start)
        digits += reader.char
        reader.advance_beyond_space()
    return digits


def _code_point(digits: str, start: int) -> int:
    if not digits:
        raise syntax_error("empty hexadecimal escape", start)
    if set(digits) - set("0123456789abcdefABCDEF"):
        raise syntax_error(f"invalid hexadecimal digits {digits!r}", start)
    code_point = int(digits, 16)
    if code_point > _LAST_CODE_POINT or code_point in _SURROGATES:
        raise syntax_error(f"{digits} is not the number of a Unicode character", start)
    return code_point
