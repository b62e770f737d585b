"""Divide a write that is too large for one request into several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

from pgchroma.errors import BatchSizeExceededError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, WriteRecords
from pgchroma.wire.route import Route, encode_json

__all__ = ("ALWAYS_ACCEPTED", "EncodedRequest", "encode", "is_parted", "parted", "read_limits")

ALWAYS_ACCEPTED: Final = 1 << 20
"""Bytes that every server accepts; for less, the server is not asked for its limit."""

CHROMA_MAX_BYTES: Final = 40 * 1024 * 1024
"""Bytes that Chroma's own server accepts, which does not state its limit."""

EncodedRequest: TypeAlias = tuple[str, str, bytes | None]
"""A method, a URL and a body."""


def encode(route: Route[Any, Any], operation: Operation[Any]) -> EncodedRequest:
    """Return the request of an operation."""
    request = route.encode_request(operation)
    content = None if request.body is None else encode_json(request.body)
    return route.method, route.url(request), content


def is_parted(operation: Operation[Any], sent: EncodedRequest) -> bool:
    """Whether a request may be too large, and can be divided."""
    is_write = isinstance(operation, WriteRecords)
    return is_write and len(sent[2] or b"") > ALWAYS_ACCEPTED


def parted(route: Route[Any, Any], operation: Any, max_bytes: int) -> Iterator[EncodedRequest]:
    """Yield the requests that a write is divided into, in their order.

    Raises:
        BatchSizeExceededError: A single record is too large.
    """
    sent = encode(route, operation)
    length, count = len(sent[2] or b""), len(operation.records)
    if length <= max_bytes:
        yield sent
        return
    if count < 2:  # noqa: PLR2004
        raise BatchSizeExceededError(
            f"the record is sent as {length} bytes, more than the {max_bytes} that the server "
            "takes in one request; its setting max_payload_size_bytes can be raised"
        )
    middle = count // 2
    for first, end in ((0, middle), (middle, count)):
        yield from parted(
            route, replace(operation, records=operation.records.part(first, end)), max_bytes
        )


def read_limits(body: Any) -> Limits:
    """Return the limits that a server states."""
    max_bytes = body.get("max_payload_size_bytes", CHROMA_MAX_BYTES)
    return Limits(int(body["max_batch_size"]), int(max_bytes))
