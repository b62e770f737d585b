r"""The named sets of characters in Rust's regex syntax: `\d \s \w`, `[:alpha:]` and `\p{…}`.

All are computed from Unicode data. PostgreSQL's `\d` and `[[:alpha:]]` are not used, because they
depend on the collation, and match ASCII only with "C".
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Final

from pgchroma.model.regex.charset import EVERYTHING, NOTHING, CharSet
from pgchroma.model.regex.unicode_tables import (
    CATEGORIES_SINCE_14,
    EMOJI,
    MARKS_NOT_ALPHABETIC,
    OTHER_LOWERCASE,
    OTHER_UPPERCASE,
    SCRIPT_CODES,
    SCRIPTS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("ASCII_CLASSES", "WHITE_SPACE", "ascii_perl_class", "perl_class", "unicode_property")

_ASCII: Final = CharSet.of((0, 0x7F))

ASCII_CLASSES: Final = {
    "alnum": CharSet.parse("30-39 41-5A 61-7A"),
    "alpha": CharSet.parse("41-5A 61-7A"),
    "ascii": _ASCII,
    "blank": CharSet.parse("9 20"),
    "cntrl": CharSet.parse("0-1F 7F"),
    "digit": CharSet.parse("30-39"),
    "graph": CharSet.parse("21-7E"),
    "lower": CharSet.parse("61-7A"),
    "print": CharSet.parse("20-7E"),
    "punct": CharSet.parse("21-2F 3A-40 5B-60 7B-7E"),
    "space": CharSet.parse("9-D 20"),
    "upper": CharSet.parse("41-5A"),
    "word": CharSet.parse("30-39 41-5A 5F 61-7A"),
    "xdigit": CharSet.parse("30-39 41-46 61-66"),
}
"""The classes between `[:` and `:]`, which are ASCII only in Rust."""

WHITE_SPACE: Final = CharSet.parse("9-D 20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000")
"""The property White_Space, which changes so rarely that it is written out."""

_ASCII_PERL: Final = {"d": "digit", "s": "space", "w": "word"}

# All assigned characters are in planes 0 to 3 and in these ranges; the last two are for private
# use, except the two noncharacters at the end of each plane.
_END_OF_DENSE_PLANES: Final = 0x40000
_TAGS_AND_SELECTORS: Final = (0xE0000, 0xE0FFF)
_PRIVATE_PLANES: Final = CharSet.parse("F0000-FFFFD 100000-10FFFD")

_JOIN_CONTROL: Final = CharSet.parse("200C-200D")

_CATEGORY_NAMES: Final = {
    "Lu": ("uppercaseletter",),
    "Ll": ("lowercaseletter",),
    "Lt": ("titlecaseletter",),
    "Lm": ("modifierletter",),
    "Lo": ("otherletter",),
    "L": ("letter",),
    "Mn": ("nonspacingmark",),
    "Mc": ("spacingmark",),
    "Me": ("enclosingmark",),
    "M": ("mark", "combiningmark"),
    "Nd": ("decimalnumber", "digit"),
    "Nl": ("letternumber",),
    "No": ("othernumber",),
    "N": ("number",),
    "Pc": ("connectorpunctuation",),
    "Pd": ("dashpunctuation",),
    "Ps": ("openpunctuation",),
    "Pe": ("closepunctuation",),
    "Pi": ("initialpunctuation",),
    "Pf": ("finalpunctuation",),
    "Po": ("otherpunctuation",),
    "P": ("punctuation", "punct"),
    "Sm": ("mathsymbol",),
    "Sc": ("currencysymbol",),
    "Sk": ("modifiersymbol",),
    "So": ("othersymbol",),
    "S": ("symbol",),
    "Zs": ("spaceseparator",),
    "Zl": ("lineseparator",),
    "Zp": ("paragraphseparator",),
    "Z": ("separator",),
    "Cc": ("control", "cntrl"),
    "Cf": ("format",),
    "Co": ("privateuse",),
    "Cn": ("unassigned",),
    "C": ("other",),
}

_CATEGORY_BY_NAME: Final = {
    name: category
    for category, names in _CATEGORY_NAMES.items()
    for name in (category.lower(), *names)
}

_BINARY_NAMES: Final = {
    "ahex": "asciihexdigit",
    "alpha": "alphabetic",
    "lower": "lowercase",
    "space": "whitespace",
    "upper": "uppercase",
    "wspace": "whitespace",
}


def unicode_property(name: str) -> CharSet | None:
    r"""Return the set of `\p{name}`; `None` if the name is unknown.

    Supported are all general categories, by short and long name, the scripts of `SCRIPTS`, and the
    properties Alphabetic, Lowercase, Uppercase, White_Space, ASCII_Hex_Digit, Emoji, Any, ASCII and
    Assigned; `gc=…` and `sc=…` name the first two kinds explicitly.
    """
    for operator in (":", "="):
        key, found, value = name.partition(operator)
        if found:
            return _property_value(_normalised(key), _normalised(value))
    loose = _normalised(name)
    return _binary_property(loose) or _category(loose) or _script(loose)


@cache
def perl_class(letter: str) -> CharSet:
    r"""The set of `\d`, `\s` or `\w` in Unicode mode."""
    match letter:
        case "d":
            return _categories()["Nd"]
        case "s":
            return WHITE_SPACE
        case _:
            # All marks are word characters, the alphabetic ones and the others alike.
            alphabetic_or_mark = _alphabetic_letters() | _major_category("M")
            digits_and_ties = _categories()["Nd"] | _categories()["Pc"] | _JOIN_CONTROL
            return alphabetic_or_mark | digits_and_ties


def ascii_perl_class(letter: str) -> CharSet:
    r"""The set of `\d`, `\s` or `\w` outside of Unicode mode."""
    return ASCII_CLASSES[_ASCII_PERL[letter]]


def _normalised(name: str) -> str:
    """Normalize a name as UAX44-LM3 requires: no case, spaces, `_`, `-` or leading `is`."""
    lowered = name.lower() if name.isascii() else "".join(filter(str.isascii, name)).lower()
    bare = lowered.removeprefix("is")
    squeezed = "".join(char for char in bare if char not in " _-")
    # ISO_Comment must not become the category C by losing its first two letters.
    return "isc" if squeezed == "c" and bare != lowered else squeezed


def _property_value(key: str, value: str) -> CharSet | None:
    match key:
        case "gc" | "generalcategory":
            return _category(value)
        case "sc" | "script":
            return _script(value)
        case _:
            return None


@cache
def _binary_property(name: str) -> CharSet | None:
    match _BINARY_NAMES.get(name, name):
        case "alphabetic":
            marks = _major_category("M") - CharSet.parse(MARKS_NOT_ALPHABETIC)
            return _alphabetic_letters() | marks
        case "asciihexdigit":
            return ASCII_CLASSES["xdigit"]
        case "emoji":
            return CharSet.parse(EMOJI)
        case "lowercase":
            return _categories()["Ll"] | CharSet.parse(OTHER_LOWERCASE)
        case "uppercase":
            return _categories()["Lu"] | CharSet.parse(OTHER_UPPERCASE)
        case "whitespace":
            return WHITE_SPACE
        case _:
            return None


def _alphabetic_letters() -> CharSet:
    """Return the Alphabetic characters except the marks."""
    numbers_and_symbols = _categories()["Nl"] | CharSet.parse(
        OTHER_UPPERCASE + " " + OTHER_LOWERCASE
    )
    return _major_category("L") | numbers_and_symbols


@cache
def _category(name: str) -> CharSet | None:
    match name:
        case "any":
            return EVERYTHING
        case "ascii":
            return _ASCII
        case "assigned":
            return ~_categories()["Cn"]
        case "lc" | "casedletter":
            categories = _categories()
            return categories["Lu"] | categories["Ll"] | categories["Lt"]
        case _:
            category = _CATEGORY_BY_NAME.get(name)
            return _major_category(category) if category else None


@cache
def _script(name: str) -> CharSet | None:
    ranges = SCRIPTS.get(SCRIPT_CODES.get(name, name))
    return CharSet.parse(ranges) if ranges else None


@cache
def _major_category(prefix: str) -> CharSet:
    """Return the characters of all general categories whose name starts with `prefix`."""
    members = (chars for name, chars in _categories().items() if name.startswith(prefix))
    return CharSet.of(*(pair for chars in members for pair in chars.ranges))


@cache
def _categories() -> Mapping[str, CharSet]:
    """Return the characters of each general category in Unicode 16, with any version of Python."""
    newer = {name: CharSet.parse(text) for name, text in CATEGORIES_SINCE_14.items()}
    moved = CharSet.of(*(pair for chars in newer.values() for pair in chars.ranges))
    runs: dict[str, list[tuple[int, int]]] = {"Co": [*_PRIVATE_PLANES.ranges]}
    for low, high in ((0, _END_OF_DENSE_PLANES - 1), _TAGS_AND_SELECTORS):
        for name, run in _category_runs(low, high):
            runs.setdefault(name, []).append(run)
    sets = {name: CharSet.of(*pairs) for name, pairs in runs.items() if name != "Cn"}
    sets = {name: (chars - moved) | newer.get(name, NOTHING) for name, chars in sets.items()}
    assigned = CharSet.of(*(pair for chars in sets.values() for pair in chars.ranges))
    return {**sets, "Cn": ~assigned}


def _category_runs(low: int, high: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the ranges from `low` to `high` with the same general category."""
    names = map(unicodedata.category, map(chr, range(low, high + 1)))
    for name, run in groupby(names):
        start, low = low, low + sum(1 for _ in run)
        yield name, (start, low - 1)
