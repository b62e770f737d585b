"""What text PostgreSQL can hold."""

from __future__ import annotations

from pgchroma.errors import InvalidArgumentError

__all__ = ("check_text",)


def check_text(text: str, path: str) -> None:
    """Refuse what no PostgreSQL text can hold: U+0000 and halves of surrogate pairs.

    Raises:
        InvalidArgumentError: The text has one; the message says where.
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
