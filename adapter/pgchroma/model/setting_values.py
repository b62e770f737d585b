"""Parsing settings and their values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import brief, plain_scalar, shown

__all__ = ("MAX_INT", "parse_changes", "parse_number")

MAX_INT: Final = 2**31 - 1
"""The greatest number of PostgreSQL's type `integer`."""


def parse_changes(
    settings: Mapping[str, Any],
    path: str,
    allowed: Collection[str],
    parse: Callable[[str, Any, str], Any],
) -> dict[str, Any]:
    """Parse settings; those that are `None` are left out.

    Args:
        settings: The settings of a request.
        path: Where they are in the request.
        allowed: The settings that there may be.
        parse: Parses one, from its name, its value as plain Python, and its path.

    Raises:
        InvalidArgumentError: A setting is not allowed, or its value is wrong.
    """
    changes = {}
    for key, value in settings.items():
        if key not in allowed:
            expected = ", ".join(sorted(allowed))
            raise InvalidArgumentError(
                f"{path}: unknown field `{brief(key)}`, expected one of {expected}"
            )
        if value is not None:
            changes[key] = parse(key, plain_scalar(value), f"{path}.{key}")
    return changes


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
