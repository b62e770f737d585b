"""Convert values to plain Python types, and format them for messages."""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import Any, Final

import numpy as np

__all__ = ("below", "brief", "count_text", "plain_operand", "plain_scalar", "shown")

_MAX_SHOWN_CHARACTERS: Final = 80
_MAX_PATH_CHARACTERS: Final = 300

_PLAIN: Final = frozenset({str, bool, int, float})


def plain_scalar(value: Any) -> Any:
    """Convert a scalar to str, bool, int or float; return other values unchanged.

    Members of enumerations and numpy's scalars, which pandas also uses, are scalars. PostgreSQL and
    JSON encoders would treat a subclass differently, or fail.
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
    """Convert a filter's operand to plain Python: a scalar, or an array to a list."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    return plain_scalar(value)


def brief(value: object) -> str:
    """Format a value for a message like `shown`, but a string without quotes."""
    if isinstance(value, np.ndarray | np.generic):
        # numpy itself omits the middle of long arrays.
        value = str(value)
    if not isinstance(value, str):
        return shown(value)
    return _cut(" ".join(value[: 2 * _MAX_SHOWN_CHARACTERS].split()))


def shown(value: object) -> str:
    """Format a value for a message: on one line, and cut."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:
        # The value may define a repr that fails.
        text = f"<{type(value).__name__}>"
    return _cut(text)


def below(path: str, part: str) -> str:
    """Return the path of a part of a value; the beginning of a long path is cut.

    It is cut as it grows: a key may be megabytes long and have a list of as many values.
    """
    return (path + part)[-_MAX_PATH_CHARACTERS:]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[: _MAX_SHOWN_CHARACTERS - 1]}…"


def _of_numpy(value: np.generic) -> Any:
    plain = value.item()
    # The item of a longdouble is a longdouble again.
    return float(plain) if isinstance(plain, np.floating) else plain


class _Short(reprlib.Repr):
    """Formats the first items of a long value, without reading the others."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 5
        self.maxstring = self.maxother = _MAX_SHOWN_CHARACTERS
        self.maxlong = 40

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Format the first items; the base class would sort all of them."""
        if level <= 0 and x:
            return "{...}"
        first = islice(x.items(), self.maxdict)
        written = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in first]
        return f"{{{', '.join([*written, *(['...'] if len(x) > self.maxdict else [])])}}}"

    def repr_int(self, x: int, level: int) -> str:
        """Format an integer, or its length: Python refuses to format very long ones."""
        bits = int.bit_length(x)
        return super().repr_int(x, level) if bits <= _MAX_BITS else f"<int of {bits} bits>"


_MAX_BITS: Final = 4_096

_SHORT: Final = _Short()


def count_text(number: int, noun: str) -> str:
    """Return a number of things, such as ``1 collection`` or ``2,000 collections``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
