"""Rust's regular expressions in PostgreSQL's dialect.

Chroma's `$regex` is the syntax of Rust's regex crate: Unicode, searching anywhere, `.` short of a
line feed, `^` and `$` at the ends of the text. PostgreSQL's dialect looks alike and means other
things, so that no pattern is passed on: each is read into a tree by Rust's rules and printed from
there in terms that mean the same under every collation, or refused.

    reader, escapes, classes, parser   from the pattern to the tree
    charset, unicode, unicode_tables   the sets of characters in it
    syntax                             the tree
    edges                              what its parts can start and end with
    printer                            from the tree to PostgreSQL's dialect

Three things differ from Rust on purpose. A pattern that compiles to more than Rust's ten megabytes
is translated if PostgreSQL can take it, where Chroma silently finds nothing. U+0000 is valid in a
pattern, but no PostgreSQL text has it, so it matches nothing. And what counts as too large, see
`printer`, is PostgreSQL's measure. A pattern has at most `MAX_CHARACTERS`, and what it takes to
read it grows with them alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.regex.literals import longest_literal
from pgchroma.model.regex.parser import parse
from pgchroma.model.regex.printer import print_are

__all__ = ("MAX_CHARACTERS", "required_text", "translate_regex")

MAX_CHARACTERS: Final = 10_000
"""The length of the longest pattern."""


@lru_cache(maxsize=128)
def translate_regex(pattern: str) -> str:
    """The PostgreSQL pattern for `~` that matches what `pattern` matches in Rust.

    The database has to be encoded in UTF-8.

    Args:
        pattern: A regular expression in the syntax of Rust's regex crate.

    Returns:
        An advanced regular expression, starting with the director `***:`.

    Raises:
        InvalidArgumentError: The pattern is too long, or it is not valid in Rust, or it is and
            PostgreSQL cannot express it; the message has the construct and the position of its
            first character, counted from 0.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise InvalidArgumentError(
            f"Regex syntax error: the pattern has {len(pattern)} characters, more than "
            f"{MAX_CHARACTERS}"
        )
    return print_are(parse(pattern))


@lru_cache(maxsize=128)
def required_text(pattern: str) -> str:
    """The longest text that everything `pattern` matches contains; empty if there is none.

    Raises:
        InvalidArgumentError: The pattern is not valid in Rust.
    """
    return longest_literal(parse(pattern))
