"""Parsing the values of settings."""

from __future__ import annotations

from typing import Any

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import shown

__all__ = ("parse_number",)


def parse_number(value: Any, path: str, bounds: tuple[int, int], *, is_int: bool) -> int | float:
    """Return a number within bounds; a float unless it has to be an int.

    Raises:
        InvalidArgumentError: It is no number, not an int, or out of bounds; the message has the
            path.
    """
    least, most = bounds
    kind = "an int" if is_int else "a number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (is_int and not isinstance(value, int)):
        raise InvalidArgumentError(f"{path}: expected {kind}, got {shown(value)}")
    # Not as two comparisons that must fail: NaN fails both.
    if not least <= value <= most:
        raise InvalidArgumentError(
            f"{path}: expected {kind} from {least:,} to {most:,}, got {shown(value)}"
        )
    return value if is_int else float(value)
