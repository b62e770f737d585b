"""Validate text for PostgreSQL."""

from __future__ import annotations

from pgchroma.errors import InvalidArgumentError

__all__ = ("check_text",)


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
