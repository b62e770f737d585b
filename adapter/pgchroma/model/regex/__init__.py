"""Rust's regular expressions in PostgreSQL's dialect.

Chroma's `$regex` has the syntax of Rust's regex crate: Unicode, unanchored, `.` matches no line
feed, `^` and `$` match at the ends of the text. PostgreSQL's dialect looks similar but has another
meaning, so patterns are not passed on. Each pattern is parsed by Rust's rules and printed in a form
that means the same under every collation; if there is no such form, it is rejected.

    reader, escapes, classes, parser   from the pattern to the tree
    charset, unicode, unicode_tables   the sets of characters in it
    syntax                             the tree
    edges                              the characters that its parts can start and end with
    printer                            from the tree to PostgreSQL's dialect

Three things differ from Rust on purpose. A pattern that compiles to more than Rust's limit of ten
megabytes is translated if PostgreSQL supports it, where Chroma silently finds nothing. U+0000 is
valid in a pattern, but no text in PostgreSQL has it, so it matches nothing. And the maximum size of
a pattern is PostgreSQL's, see `printer`. A pattern has at most `MAX_CHARACTERS`, and the time to
parse it is linear in its length.
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
    """Return the PostgreSQL pattern that matches with `~` what `pattern` matches in Rust.

    The database must be encoded in UTF-8.

    Args:
        pattern: A regular expression in the syntax of Rust's regex crate.

    Returns:
        An advanced regular expression, starting with the director `***:`.

    Raises:
        InvalidArgumentError: The pattern is too long, is not valid in Rust, or has no equivalent in
            PostgreSQL. The message has the construct and the position of its first character, from
            0.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise InvalidArgumentError(
            f"Regex syntax error: the pattern has {len(pattern)} characters, more than "
            f"{MAX_CHARACTERS}"
        )
    return print_are(parse(pattern))


@lru_cache(maxsize=128)
def required_text(pattern: str) -> str:
    """Return the longest text that every match of `pattern` contains; empty if there is none.

    Raises:
        InvalidArgumentError: The pattern is not valid in Rust.
    """
    return longest_literal(parse(pattern))
