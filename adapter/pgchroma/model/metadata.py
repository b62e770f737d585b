"""Validate metadata and convert it to plain types.

int, float and bool are different types. An integer beyond signed 64 bits becomes a float, as in
Chroma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import below, brief, plain_scalar, shown
from pgchroma.model.plain_metadata import (
    are_plain_dicts,
    are_plain_values,
    fits_int64,
    keys_of,
    values_of,
)
from pgchroma.model.sparse import is_sparse, parse_sparse
from pgchroma.model.text import check_text

__all__ = (
    "CleanMetadata",
    "fits_int64",
    "parse_collection_metadata",
    "parse_metadata",
    "parse_metadatas",
)

CleanMetadata: TypeAlias = dict[str, Any]
"""Metadata in plain Python types: str, bool, int of 64 bits, finite float, lists of one type, and
sparse vectors in their dictionary form. In an update, `None` removes a key."""


def parse_metadatas(
    metadatas: Sequence[Any], *, removals: bool = False
) -> list[CleanMetadata | None]:
    """Validate the metadata of a batch, as `parse_metadata` does of one record; None stays None."""
    if _are_clean(metadatas, removals=removals):
        return [None if metadata is None else metadata.copy() for metadata in metadatas]
    return [
        None
        if metadata is None
        else parse_metadata(metadata, f"metadatas[{index}]", removals=removals)
        for index, metadata in enumerate(metadatas)
    ]


def _are_clean(metadatas: Sequence[Any], *, removals: bool) -> bool:
    """Whether all metadata is valid and in plain types."""
    return (
        are_plain_dicts(metadatas)
        and all(_error_of(key) is None for key in keys_of(metadatas))
        and are_plain_values(values_of(metadatas), nullable=removals)
    )


def parse_metadata(
    metadata: Mapping[str, Any], path: str, *, removals: bool = False
) -> CleanMetadata:
    """Validate a record's metadata and return it in plain types.

    Args:
        metadata: The caller's keys and values.
        path: The path in the request, for messages, such as ``metadatas[3]``.
        removals: Whether `None` is allowed, to remove a key.

    Raises:
        InvalidArgumentError: A key or a value is not allowed; the message starts with its path.
    """
    clean: CleanMetadata = {}
    for given, value in metadata.items():
        key = _key(given, path)
        if _is_plain(value):
            clean[key] = value
        elif value is None:
            if not removals:
                raise InvalidArgumentError(f"{below(path, f'.{key}')}: a value cannot be None here")
            clean[key] = None
        elif (plain := _plain(value, below(path, f".{key}"))) != []:
            clean[key] = plain
    return clean


def parse_collection_metadata(
    metadata: Mapping[str, Any] | None, *, removals: bool = False, field: str = "metadata"
) -> CleanMetadata | None:
    """Validate a collection's metadata, which must have scalars only and not be empty.

    With `removals` a value may be `None`; its key is omitted. Messages name the `field`.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidArgumentError(f"{field}: expected a dict, got {shown(metadata)}")
    if not metadata:
        raise InvalidArgumentError(f"Validation error: {field}: Metadata cannot be empty")
    clean = parse_metadata(metadata, field, removals=removals)
    clean = {key: value for key, value in clean.items() if value is not None}
    for key, value in clean.items():
        if isinstance(value, list | dict):
            path = below(field, f".{key}")
            raise InvalidArgumentError(
                f"{path}: a collection's metadata holds no lists and no sparse vectors"
            )
    return clean


def _key(given: object, path: str) -> str:
    """Validate a key and return it as a plain str."""
    key: Any = plain_scalar(given)
    error = _error_of(key)
    if error is not None:
        raise InvalidArgumentError(f"{path}: {error}")
    return str(key)


def _error_of(key: Any) -> str | None:
    is_short = isinstance(key, str) and len(key) <= _MAX_CACHED_CHARACTERS
    return (_cached_error if is_short else _key_error)(key)


def _key_error(key: object) -> str | None:
    if not isinstance(key, str):
        return f"expected a str as key, got {shown(key)}"
    if not key:
        return "Metadata key cannot be empty"
    if key[0] in "#$":
        return f"Metadata key cannot start with '#' or '$': {brief(key)}"
    if key.startswith("chroma:"):
        return f"keys that start with 'chroma:' are reserved: {brief(key)}"
    try:
        check_text(key, f"key {shown(key)}")
    except InvalidArgumentError as error:
        return error.message()
    return None


# Cached: a batch has a thousand records, but few different keys.
_cached_error = lru_cache(maxsize=4096)(_key_error)

_MAX_CACHED_CHARACTERS: Final = 200


def _is_plain(value: object) -> bool:
    # A fast path for most values, of which a batch has thousands.
    kind = type(value)
    if kind is str:
        return value.isascii() and "\x00" not in value  # type: ignore[attr-defined, operator]
    if kind is int:
        return fits_int64(value)  # type: ignore[arg-type]
    return kind is bool or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


def _plain(value: object, path: str) -> Any:
    if isinstance(value, (list, tuple)):
        return _plain_list(value, path)
    if is_sparse(value):
        return parse_sparse(value, path)  # type: ignore[arg-type]
    return _plain_scalar(value, path)


def _plain_scalar(given: object, path: str) -> str | bool | int | float:
    value: Any = plain_scalar(given)
    if isinstance(value, str):
        check_text(value, path)
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if fits_int64(value) else _wide_int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"{path}: {value} is not a finite number")
        return value
    raise InvalidArgumentError(
        f"{path}: expected a str, int, float, bool or a list of one of these, "
        f"got {shown(given)} which is a {type(given).__name__}"
    )


def _wide_int(value: int) -> float:
    if value >= 2**64 or value < 0:
        raise TypeError("Integer exceeds 64-bit range")
    return float(value)


def _plain_list(values: list[Any] | tuple[Any, ...], path: str) -> list[Any]:
    plain = [_plain_scalar(value, below(path, f"[{index}]")) for index, value in enumerate(values)]
    types = {type(value) for value in plain}
    if types == {int, float}:
        return [float(value) for value in plain]
    if len(types) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in types))
        raise InvalidArgumentError(f"{path}: a list holds values of one type, got {names}")
    return plain
