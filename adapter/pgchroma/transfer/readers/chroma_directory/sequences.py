"""Sequence numbers of Chroma's queue, which releases have stored in several forms."""

from __future__ import annotations

from typing import Final

__all__ = ("MAX_SEQUENCE", "decode_sequence")

MAX_SEQUENCE: Final = 1 << 53
"""The highest number that is believed. Tools that misread a number left larger ones behind."""

_LENGTHS: Final = (8, 24)
_ASCII_MARK: Final = b"\x11\x11"


def decode_sequence(value: object) -> int | None:
    """Return a sequence number, or `None` if the value is not a believable one.

    Chroma before 1.0 stored 8 or 24 bytes in big-endian order, and later releases integers. The
    mark 0x1111 with digits after it has been seen in directories of users.
    """
    number: int | None = None
    if isinstance(value, bytes):
        if value[:2] == _ASCII_MARK and value[2:].isdigit():
            number = int(value[2:])
        elif len(value) in _LENGTHS:
            number = int.from_bytes(value, "big")
    elif isinstance(value, int):
        number = value
    return number if number is not None and 0 <= number <= MAX_SEQUENCE else None
