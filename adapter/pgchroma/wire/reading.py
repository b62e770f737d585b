"""JSON bodies read into structs, large ones in parts.

A decoder holds Python's lock from the body's first byte to its last, and makes an object of every
number. So of a large body only the outermost object is decoded at once. What its fields hold is
counted before anything is made of it, and embeddings become arrays one by one. Between the parts
other threads run, such as the one with the event loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, NoReturn, get_args, get_origin

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import FieldInfo, fields

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.wire.duplicates import duplicate_field, raw_fields

__all__ = ("MAX_VALUES", "read_body")

LARGE: Final = 1 << 18
"""Bytes of a body above which it is read in parts."""

MAX_VALUES: Final = 600_000
"""Values in a field of a body, embeddings apart; the largest filter there may be has fewer."""

MAX_NUMBERS: Final = 16_000
"""Numbers of an embedding; PostgreSQL stores no longer ones."""

MAX_EMBEDDINGS: Final = 100_000

_EMBEDDINGS: Final = ("embeddings", "query_embeddings")

_CHUNK: Final = 1 << 18

_SPACE: Final = rb"[ \t\n\r]*"
_START: Final = re.compile(_SPACE + rb"\[" + _SPACE + rb"(\]?)")
_ELEMENT: Final = re.compile(
    rb'(\[[^][{}"]{0,1000000}\]|"[^"\\]{0,200000}(?:\\.[^"\\]{0,200000}){0,200000}"|null)'
    + _SPACE
    + rb"([],])"
    + _SPACE,
    re.DOTALL,
)
"""An element of a list of embeddings, and what is behind it. The longest are several times shorter
than the bounds, which keep a hostile one from being read to its end."""
_TOO_LONG: Final = re.compile(rb'\[[^][{}"]{1000000}|"')


def read_body(body: bytes, shape: Any) -> Any:
    """Read a body.

    Args:
        body: JSON.
        shape: The struct it is to be.

    Raises:
        InvalidArgumentError: It is not JSON, or has too much in it.
        MalformedRequestError: It is JSON of another shape, or has a field twice.
    """
    if len(body) <= LARGE:
        read = _decode(body, shape)
        _check_unique(body, raw_fields(body))
        return read
    outer = _decode(body, _envelope(shape))
    given = list(_given(outer, shape))
    _check_unique(body, {each.encode_name: getattr(outer, each.name) for each in given})
    return shape(**{each.name: _read_field(each, getattr(outer, each.name)) for each in given})


def _check_unique(body: bytes, raw: Mapping[str, Raw]) -> None:
    if (name := duplicate_field(body, raw)) is not None:
        _malformed(f"duplicate field `{name[:100]}`")


def _given(outer: Any, shape: Any) -> Iterator[FieldInfo]:
    for each in fields(shape):
        if getattr(outer, each.name) is not UNSET:
            yield each
        elif each.required:
            _malformed(f"Object missing required field `{each.encode_name}`")


def _read_field(field: FieldInfo, raw: Raw) -> Any:
    text = bytes(raw)
    if field.name in _EMBEDDINGS and text != b"null":
        return _embeddings(text, field)
    _check_count(text, field.name)
    return _decode(text, field.type, f"$.{field.encode_name}")


@cache
def _envelope(shape: Any) -> Any:
    unread = [
        (each.name, Raw | UnsetType, msgspec.field(default=UNSET, name=each.encode_name))
        for each in fields(shape)
    ]
    return msgspec.defstruct(shape.__name__, unread)


def _decode(text: bytes, shape: Any, path: str = "$") -> Any:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        _malformed(str(error).replace("`$", f"`{path}"), error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgumentError(f"Failed to parse the request body as JSON: {error}") from error


def _embeddings(text: bytes, field: FieldInfo) -> list[Any]:
    """Read embeddings, or nulls in their place; lists of numbers become arrays."""
    start = _START.match(text)
    if start is None:
        _decode(text, field.type, f"$.{field.encode_name}")
        _malformed(f"Expected `array` - at `$.{field.encode_name}`")
    kind = _element_of(field.type)
    found: list[Any] = []
    at = start.end()
    is_ended = bool(start[1])
    while not is_ended:
        element = _ELEMENT.match(text, at)
        if len(found) == MAX_EMBEDDINGS:
            raise InvalidArgumentError(
                f"{field.encode_name}: more than {MAX_EMBEDDINGS} embeddings in one request"
            )
        if element is None:
            _refuse_element(text, at, f"$.{field.encode_name}[{len(found)}]")
        found.append(_embedding(element[1], kind, f"$.{field.encode_name}[{len(found)}]"))
        at = element.end()
        is_ended = element[2] == b"]"
    return found


def _element_of(shape: Any) -> Any:
    """The type of the elements of a list, which may be null itself."""
    lists = (each for each in (shape, *get_args(shape)) if get_origin(each) is list)
    return get_args(next(lists))[0]


def _refuse_element(text: bytes, at: int, path: str) -> NoReturn:
    if _TOO_LONG.match(text, at):
        raise InvalidArgumentError(
            f"{path}: expected an embedding of at most {MAX_NUMBERS} numbers, "
            "as a list or in base64"
        )
    _malformed(f"Expected an embedding - at `{path}`")


def _embedding(element: bytes, kind: Any, path: str) -> Any:
    if element[:1] != b"[":
        return _decode(element, kind, path)
    if element.count(b",") >= MAX_NUMBERS:
        raise InvalidArgumentError(f"{path}: an embedding has at most {MAX_NUMBERS} numbers")
    with np.errstate(over="ignore"):
        return np.array(_decode(element, list[float], path), dtype=np.float32)


def _check_count(text: bytes, name: str) -> None:
    """Refuse a field of too many values; what else would become of them is much larger."""
    if _separators(text) > MAX_VALUES and _structural(text) > MAX_VALUES:
        raise InvalidArgumentError(
            f"{name}: more than {MAX_VALUES} values in one request; send it in several"
        )


def _separators(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _structural(text: bytes) -> int:
    """Count separators that stand in no string."""
    count = 0
    is_outside = True
    for chunk in _chunks(text):
        parts = chunk.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        count += _separators(b"".join(parts[0 if is_outside else 1 :: 2]))
        if len(parts) % 2 == 0:
            is_outside = not is_outside
        if count > MAX_VALUES:
            break
    return count


def _chunks(text: bytes) -> Iterator[bytes]:
    """Cut a text where no escape sequence is cut in two."""
    start = 0
    while start < len(text):
        chunk = text[start : start + _CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:
            chunk = text[start : start + len(chunk) + 1]
        yield chunk
        start += len(chunk)


def _malformed(message: str, cause: Exception | None = None) -> NoReturn:
    raise MalformedRequestError(
        f"Failed to deserialize the JSON body into the target type: {message}"
    ) from cause
