"""Values as plain Python has them, and as messages show them."""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import Any, Final

import numpy as np

__all__ = ("below", "brief", "plain_operand", "plain_scalar", "shown")

_LONGEST: Final = 80
_MAX_PATH_CHARACTERS: Final = 300

_PLAIN: Final = frozenset({str, bool, int, float})


def plain_scalar(value: Any) -> Any:
    """Bring a text, a truth value or a number to str, bool, int or float; leave all else.

    Members of enumerations and numpy's scalars, which pandas has too, are such values. PostgreSQL
    and JSON would take a subclass for something else, or for nothing at all.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic):
        value = _of_numpy(value)
    if isinstance(value, str):
        # Not str(): a member of an enumeration would answer with its own name.
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def plain_operand(value: Any) -> Any:
    """Bring a filter's operand to plain Python: a scalar, or an array of them to a list."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    return plain_scalar(value)


def brief(value: object) -> str:
    """Write a value for a message as `shown` does, a text without quotation marks."""
    if isinstance(value, np.ndarray | np.generic):
        # numpy itself leaves out the middle of what is long.
        value = str(value)
    if not isinstance(value, str):
        return shown(value)
    return _cut(" ".join(value[: 2 * _LONGEST].split()))


def shown(value: object) -> str:
    """Write a value for a message: on one line, and cut to what tells it from others."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:
        # It may have a repr of its own, and that may fail.
        text = f"<{type(value).__name__}>"
    return _cut(text)


def below(path: str, part: str) -> str:
    """Name a part of what a path names; of a long path, the end.

    It is cut while it grows: a key may be megabytes long, and have a list of as many values.
    """
    return (path + part)[-_MAX_PATH_CHARACTERS:]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _of_numpy(value: np.generic) -> Any:
    plain = value.item()
    # The item of a wide float is itself.
    return float(plain) if isinstance(plain, np.floating) else plain


class _Short(reprlib.Repr):
    """Writes the first items of what is long, without looking at the others."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 5
        self.maxstring = self.maxother = _LONGEST
        self.maxlong = 40

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Write the first items; the base class would sort all of them."""
        if level <= 0 and x:
            return "{...}"
        first = islice(x.items(), self.maxdict)
        written = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in first]
        return f"{{{', '.join([*written, *(['...'] if len(x) > self.maxdict else [])])}}}"

    def repr_int(self, x: int, level: int) -> str:
        """Write an integer, or how long it is: Python refuses to write very long ones."""
        bits = int.bit_length(x)
        return super().repr_int(x, level) if bits <= _MAX_BITS else f"<int of {bits} bits>"


_MAX_BITS: Final = 4_096

_SHORT: Final = _Short()
