"""The names of collections that are not complete yet, or that are being replaced.

A transfer writes into a collection under a temporary name. The name is derived from the source and
the target, so that the same command finds the collection again after it was interrupted, and no
state has to be kept anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

__all__ = ("is_temporary", "replaced_name", "temporary_name")

_IMPORTING: Final = ".importing-"
_REPLACED: Final = ".replaced-"

_LENGTH: Final = 63
"""The longest name: that of Chroma before 1.0, and of a view in PostgreSQL."""

_DIGITS: Final = 8


def temporary_name(name: str, parts: Iterable[str]) -> str:
    """Return the name of a collection until all of its records are there.

    Args:
        name: The name that it will have.
        parts: What identifies the source and the way in which its records are changed.
    """
    return _name(name, _IMPORTING, parts)


def replaced_name(name: str, parts: Iterable[str]) -> str:
    """Return the name of an existing collection while another one takes its place."""
    return _name(name, _REPLACED, parts)


def is_temporary(name: str) -> bool:
    """Whether a name is one of these."""
    stem, dash, digits = name.rpartition("-")
    is_ours = f"{stem}{dash}".endswith((_IMPORTING, _REPLACED))
    return is_ours and len(digits) == _DIGITS and set(digits) <= set("0123456789abcdef")


def _name(name: str, infix: str, parts: Iterable[str]) -> str:
    digest = blake2b("\0".join([name, *parts]).encode(), digest_size=_DIGITS // 2).hexdigest()
    suffix = f"{infix}{digest}"
    return name[: _LENGTH - len(suffix)].rstrip("._-+") + suffix
