"""Writes that are too large for one request, parted into several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

from pgchroma.errors import BatchSizeExceededError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, WriteRecords
from pgchroma.wire.route import Route, encode_json

__all__ = ("SURELY_SMALL", "Sent", "encode", "is_parted", "parted", "read_limits")

SURELY_SMALL: Final = 1 << 20
"""Bytes that every server takes; for less, nobody asks how many it takes."""

CHROMAS_MOST: Final = 40 * 1024 * 1024
"""Bytes that Chroma's own server takes, which does not tell."""

Sent: TypeAlias = tuple[str, str, bytes | None]
"""A method, a URL and a body."""


def encode(route: Route[Any, Any], operation: Operation[Any]) -> Sent:
    """Write an operation's request."""
    request = route.encode_request(operation)
    content = None if request.body is None else encode_json(request.body)
    return route.method, route.url(request), content


def is_parted(operation: Operation[Any], sent: Sent) -> bool:
    """Whether a request may be too large, and can be sent in parts."""
    is_write = isinstance(operation, WriteRecords)
    return is_write and len(sent[2] or b"") > SURELY_SMALL


def parted(route: Route[Any, Any], operation: Any, most: int) -> Iterator[Sent]:
    """Write a write as the requests that do the same, in their order.

    Raises:
        BatchSizeExceededError: A single record is too large.
    """
    sent = encode(route, operation)
    length, count = len(sent[2] or b""), len(operation.records)
    if length <= most:
        yield sent
        return
    if count < 2:  # noqa: PLR2004
        raise BatchSizeExceededError(
            f"the record is sent as {length} bytes, more than the {most} that the server takes in "
            "one request; its setting max_payload_size_bytes can be raised"
        )
    middle = count // 2
    for first, end in ((0, middle), (middle, count)):
        yield from parted(
            route, replace(operation, records=operation.records.part(first, end)), most
        )


def read_limits(body: Any) -> Limits:
    """Read what a server tells of its limits."""
    most = body.get("max_payload_size_bytes", CHROMAS_MOST)
    return Limits(int(body["max_batch_size"]), int(most))
