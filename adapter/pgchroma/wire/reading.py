"""Decode JSON bodies into structs, large ones in parts.

A decoder holds Python's lock for the whole body, and makes an object of every number. Of a large
body, only the outermost object is therefore decoded at first. The values of each field are counted
before they are decoded, and embeddings are decoded one by one, or in parts if all are in base64.
Between the parts other threads can run, such as the thread of the event loop.

msgspec decodes base64 several times as fast as binascii does. Texts that it refuses stay texts, and
binascii decodes them or has the message of the error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from types import NoneType
from typing import Any, Final, NoReturn, Union, get_args, get_origin

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import FieldInfo, fields

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.limits import MAX_DIMENSION
from pgchroma.wire.duplicates import duplicate_field, raw_fields

__all__ = ("MAX_VALUES", "malformed", "read_body")

LARGE: Final = 1 << 18
"""The length in bytes above which a body is decoded in parts."""

MAX_VALUES: Final = 600_000
"""Values of a field, other than embeddings. The largest valid filter has fewer."""

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
"""An element of a list of embeddings, and the separator after it.

The bounds are several times the longest valid element. They stop the match of a hostile one early.
"""
_SEPARATOR: Final = re.compile(_SPACE + rb"([],])" + _SPACE)
_SIMPLE: Final[dict[bytes, tuple[bytes, tuple[bytes, ...]]]] = {
    b'"': (b'"', (b"\\",)),
    b"[": (b"]", (b"[", b"{", b"}", b'"')),
}
"""How an element ends that begins with a byte, and what it does not contain then."""
_MOST: Final = 200_000
"""The length of the longest element that is looked for so."""
_MAX_TEXT_BYTES: Final = 150_000
"""The length in bytes of the longest embedding in base64 that is an element of a list."""
_TOO_LONG: Final = re.compile(rb'\[[^][{}"]{1000000}|"')


def read_body(body: bytes, shape: Any) -> Any:
    """Decode a body.

    Args:
        body: JSON.
        shape: The struct to decode it into.

    Raises:
        InvalidArgumentError: The body is not JSON, or has too many values.
        MalformedRequestError: The body has another shape, or has a field twice.
    """
    if len(body) <= LARGE:
        decoded = _decode_small(body, shape)
        _check_unique(body, raw_fields(body))
        return decoded
    envelope = _decode(body, _envelope(shape))
    present = list(_present_fields(envelope, shape))
    raw = {field.name: getattr(envelope, field.name) for field in present}
    _check_unique(body, {field.encode_name: raw[field.name] for field in present})
    return shape(**{field.name: _decode_field(field, raw[field.name]) for field in present})


def _decode_small(body: bytes, shape: Any) -> Any:
    """Decode a body, with the bytes of embeddings in base64 if there is no fault in it."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(body, type=_with_bytes(shape))
    return _decode(body, shape)


@cache
def _with_bytes(shape: Any) -> Any:
    """Return a struct like `shape`, in which embeddings in base64 are bytes."""
    field = next((field for field in fields(shape) if field.name in _EMBEDDINGS), None)
    if field is None or str not in get_args(_element_type(field.type)):
        return shape
    elements = get_args(_element_type(field.type))
    kind: Any = list[Union[tuple(bytes if each is str else each for each in elements)]]  # type: ignore[misc]  # noqa: UP007
    if field.required:
        return msgspec.defstruct(shape.__name__, [(field.name, kind)], bases=(shape,))
    optional = (field.name, kind | None, field.default)
    return msgspec.defstruct(shape.__name__, [optional], bases=(shape,))


def _check_unique(body: bytes, raw: Mapping[str, Raw]) -> None:
    if (name := duplicate_field(body, raw)) is not None:
        malformed(f"duplicate field `{name[:100]}`")


def _present_fields(envelope: Any, shape: Any) -> Iterator[FieldInfo]:
    for field in fields(shape):
        if getattr(envelope, field.name) is not UNSET:
            yield field
        elif field.required:
            malformed(f"Object missing required field `{field.encode_name}`")


def _decode_field(field: FieldInfo, raw: Raw) -> Any:
    text = bytes(raw)
    if field.name in _EMBEDDINGS and text != b"null":
        return _decode_embeddings(text, field)
    _check_count(text, field.name)
    return _decode(text, field.type, f"$.{field.encode_name}")


@cache
def _envelope(shape: Any) -> Any:
    undecoded = [
        (field.name, Raw | UnsetType, msgspec.field(default=UNSET, name=field.encode_name))
        for field in fields(shape)
    ]
    return msgspec.defstruct(shape.__name__, undecoded)


def _decode(text: bytes, shape: Any, path: str = "$") -> Any:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        malformed(str(error).replace("`$", f"`{path}"), error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgumentError(f"Failed to parse the request body as JSON: {error}") from error


def _decode_embeddings(text: bytes, field: FieldInfo) -> list[Any]:
    """Return embeddings or nulls. Lists of numbers become arrays, and base64 becomes bytes."""
    start = _START.match(text)
    if start is None:
        _decode(text, field.type, f"$.{field.encode_name}")
        malformed(f"Expected `array` - at `$.{field.encode_name}`")
    kind = _element_type(field.type)
    position = start.end()
    if text[position : position + 1] == b'"' and str in get_args(kind):
        decoded = _decode_texts(text, position, kind)
        if decoded is not None:
            return decoded
    embeddings: list[Any] = []
    is_ended = bool(start[1])
    while not is_ended:
        if len(embeddings) == MAX_EMBEDDINGS:
            raise InvalidArgumentError(
                f"{field.encode_name}: expected at most {MAX_EMBEDDINGS} embeddings in one "
                "request, got more; send several requests"
            )
        path = f"$.{field.encode_name}[{len(embeddings)}]"
        element, separator, position = _next_element(text, position, path)
        embeddings.append(_decode_embedding(element, kind, path))
        is_ended = separator == b"]"
    return embeddings


def _decode_texts(text: bytes, position: int, kind: Any) -> list[Any] | None:
    """Return the bytes of embeddings that are all in base64, and nulls where `kind` has them.

    Return `None` if any is another value, has a fault or is too long, or if there are too many.
    """
    shape = list[bytes | None] if NoneType in get_args(kind) else list[bytes]
    embeddings: list[Any] = []
    while position and len(embeddings) <= MAX_EMBEDDINGS:
        # Base64 has no commas. If something else has one, this part is no list.
        end = text.find(b",", position + _CHUNK)
        try:
            embeddings += msgspec.json.decode(b"[%b]" % text[position:end], type=shape)
        except msgspec.DecodeError:
            return None
        position = end + 1
    longest = max((len(each) for each in embeddings if each is not None), default=0)
    is_allowed = len(embeddings) <= MAX_EMBEDDINGS and longest <= _MAX_TEXT_BYTES
    return embeddings if is_allowed else None


def _next_element(text: bytes, position: int, path: str) -> tuple[bytes, bytes, int]:
    """Return an element of a list, the separator after it, and the position after that.

    Raises:
        MalformedRequestError: There is no element.
        InvalidArgumentError: It is too long.
    """
    closing, marks = _SIMPLE.get(text[position : position + 1], (b"", ()))
    end = text.find(closing, position + 1, position + _MOST) + 1 if closing else 0
    element = text[position:end]
    if end and not any(mark in element[1:-1] for mark in marks):
        separator = _SEPARATOR.match(text, end)
        if separator is not None:
            return element, separator[1], separator.end()
    # An expression takes many times as long as to search for the end.
    found = _ELEMENT.match(text, position)
    if found is None:
        _reject_element(text, position, path)
    return found[1], found[2], found.end()


def _element_type(shape: Any) -> Any:
    """Return the type of the elements of a list type, which may be optional."""
    lists = (each for each in (shape, *get_args(shape)) if get_origin(each) is list)
    return get_args(next(lists))[0]


def _reject_element(text: bytes, position: int, path: str) -> NoReturn:
    if _TOO_LONG.match(text, position):
        raise InvalidArgumentError(
            f"{path}: expected an embedding of at most {MAX_DIMENSION} numbers, "
            "as a list or in base64"
        )
    malformed(f"Expected an embedding - at `{path}`")


def _decode_embedding(element: bytes, kind: Any, path: str) -> Any:
    if element[:1] != b"[":
        if element[:1] == b'"' and str in get_args(kind):
            # msgspec decodes base64 several times as fast as binascii does. A text that it refuses
            # is decoded with the embeddings of small bodies.
            with suppress(msgspec.DecodeError):
                return msgspec.json.decode(element, type=bytes)
        return _decode(element, kind, path)
    if element.count(b",") >= MAX_DIMENSION:
        raise InvalidArgumentError(
            f"{path}: expected an embedding of at most {MAX_DIMENSION} numbers, "
            f"got {element.count(b',') + 1}"
        )
    with np.errstate(over="ignore"):
        return np.array(_decode(element, list[float], path), dtype=np.float32)


def _check_count(text: bytes, name: str) -> None:
    """Check the number of a field's values, which take far more memory decoded than as text."""
    if _count_separators(text) > MAX_VALUES and _count_structural(text) > MAX_VALUES:
        raise InvalidArgumentError(
            f"{name}: expected at most {MAX_VALUES} values in one request, got more; "
            "send several requests"
        )


def _count_separators(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _count_structural(text: bytes) -> int:
    """Return the number of separators outside strings."""
    count = 0
    is_outside = True
    for chunk in _chunks(text):
        parts = chunk.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        count += _count_separators(b"".join(parts[0 if is_outside else 1 :: 2]))
        if len(parts) % 2 == 0:
            is_outside = not is_outside
        if count > MAX_VALUES:
            break
    return count


def _chunks(text: bytes) -> Iterator[bytes]:
    """Split a text without splitting an escape sequence."""
    start = 0
    while start < len(text):
        chunk = text[start : start + _CHUNK]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:
            chunk = text[start : start + len(chunk) + 1]
        yield chunk
        start += len(chunk)


def malformed(message: str, cause: Exception | None = None) -> NoReturn:
    """Raise the error of a body of another shape, with the words that Chroma's begin with."""
    raise MalformedRequestError(
        f"Failed to deserialize the JSON body into the target type: {message}"
    ) from cause
