"""Decode requests and encode answers, large ones in a thread.

The work for a body is bounded where it is read (`pgchroma.wire.reading`) and parsed
(`pgchroma.model`). But the bounds admit large legitimate requests, which may take seconds and would
block the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from pgchroma.model.operations import Operation
from pgchroma.model.records import QueriedRecords, RecordColumns
from pgchroma.server.http.answers import Answer, json_answer
from pgchroma.wire.route import Request, Route

__all__ = ("Codec",)

P = ParamSpec("P")
R = TypeVar("R")

MAX_THREADS: Final = 2
"""Concurrent threads: more would compete for the GIL and for memory."""

_LONG: Final = 1 << 15
_MANY: Final = 500


class Codec:
    """Decodes requests and encodes answers."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_THREADS)

    async def decode(
        self,
        route: Route[Any, Any],
        path: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes | None,
    ) -> tuple[Request, Operation[Any]]:
        """Return the request and its operation.

        Raises:
            ChromaError: The request is malformed.
        """
        if body is None or not _is_long(body):
            return _decode(route, path, query, body)
        return await self._in_thread(_decode, route, path, query, body)

    async def encode(self, route: Route[Any, Any], request: Request, result: Any) -> Answer:
        """Return the answer with a result."""
        if not _is_large(result):
            return _encode(route, request, result)
        return await self._in_thread(_encode, route, request, result)

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._slots:
            return await asyncio.to_thread(work, *args, **kwargs)


def _decode(
    route: Route[Any, Any],
    path: Mapping[str, str],
    query: Mapping[str, str],
    body: bytes | None,
) -> tuple[Request, Operation[Any]]:
    request = route.parse(path, query, body)
    return request, route.decode_request(request)


def _encode(route: Route[Any, Any], request: Request, result: Any) -> Answer:
    return json_answer(route.encode_response(request, result), route.status)


def _is_long(body: bytes) -> bool:
    # Parsing a regular expression is slow, and the first one builds tables. Its key may be escaped.
    return len(body) > _LONG or b"regex" in body or b"\\u" in body


def _is_large(result: Any) -> bool:
    if isinstance(result, RecordColumns):
        return len(result.ids) > _MANY
    if not isinstance(result, list):
        return False
    found = sum(len(each.records.ids) for each in result if isinstance(each, QueriedRecords))
    return len(result) > _MANY or found > _MANY
