"""Words to search documents for.

The syntax is that of web searches. A document matches if it has all words, in any order and any
inflection that the language knows. ``"some words"`` matches a phrase, ``word*`` every word that
begins with it, and ``-word`` documents without it. ``or`` separates alternatives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = (
    "MAX_WORDS_CHARACTERS",
    "MAX_WORDS_PARTS",
    "Alternative",
    "Prefix",
    "Words",
    "count_parts",
    "parse_words",
)

MAX_WORDS_CHARACTERS: Final = 10_000
"""The longest text to search for."""

MAX_WORDS_PARTS: Final = 100
"""The most alternatives and prefixes of a text. PostgreSQL combines them two by two, and each
combination nests one level deeper."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text whose words rank documents. Its punctuation has no meaning."""

    text: str


class Prefix(NamedTuple):
    """The beginning of a word."""

    text: str
    is_excluded: bool


class Alternative(NamedTuple):
    """What a document has to match.

    Attributes:
        text: Words and phrases in PostgreSQL's syntax of web searches, without alternatives.
        prefixes: The beginnings of words.
    """

    text: str
    prefixes: tuple[Prefix, ...]


def parse_words(text: str) -> list[Alternative]:
    """Split a text into its alternatives; there is always one."""
    alternatives: list[tuple[list[str], list[Prefix]]] = [([], [])]
    for token in _TOKEN.findall(text):
        words, prefixes = alternatives[-1]
        if token.lower() == "or":
            alternatives.append(([], []))
        elif prefix := _PREFIX.fullmatch(token):
            prefixes.append(Prefix(prefix["text"], prefix["minus"] == "-"))
        else:
            words.append(token)
    parsed = [Alternative(" ".join(words), tuple(found)) for words, found in alternatives]
    return [each for each in parsed if each.text or each.prefixes] or parsed[:1]


def count_parts(text: str) -> int:
    """Return the number of a text's alternatives and prefixes."""
    return sum(1 + len(alternative.prefixes) for alternative in parse_words(text))


# A quotation mark that is not closed quotes the rest, as in PostgreSQL.
_TOKEN: Final = re.compile(r'-?"[^"]*(?:"|$)|[^\s"]+')
_PREFIX: Final = re.compile(r"(?P<minus>-?)(?P<text>[^-*].*)\*")
