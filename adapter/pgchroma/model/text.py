"""Validate text for PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import contains

from pgchroma.errors import InvalidArgumentError

__all__ = ("are_storable", "check_text")


def are_storable(texts: Sequence[str]) -> bool:
    """Whether PostgreSQL can store all texts, without finding out which one it cannot."""
    if any(map(contains, texts, repeat("\x00"))):
        return False
    return all(map(str.isascii, texts)) or _can_be_encoded(texts)


def _can_be_encoded(texts: Sequence[str]) -> bool:
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(text: str, path: str) -> None:
    """Raise if a text has characters that PostgreSQL cannot store: U+0000 and lone surrogates.

    Raises:
        InvalidArgumentError: It has one; the message has its position.
    """
    position = text.find("\x00")
    if position >= 0:
        raise InvalidArgumentError(
            f"{path}: character {position} is U+0000, which PostgreSQL cannot store; remove it"
        )
    if not text.isascii():
        _check_surrogates(text, path)


def _check_surrogates(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{path}: character {error.start} is half of a surrogate pair, not a character"
        ) from error
