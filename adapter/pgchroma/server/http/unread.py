"""Send long answers in parts, and drop those that clients do not read.

The HTTP server buffers what the client has not read. If an answer is sent in parts, the server
accepts the next part only when the client has read most of those before. So a stalled client can be
distinguished from a slow one, and the memory of all unread answers is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ("ABORT", "UnreadAnswers")

_log = logging.getLogger("pgchroma.server")

ABORT: Final = "pgchroma.abort"
"""The extension of a request's scope that ends its connection without waiting for the client."""

PART_BYTES: Final = 1 << 18
"""The length of a part, and of the longest answer that is sent in one piece."""

MAX_BYTES: Final = 256 << 20
"""Maximum bytes of long answers in a worker's memory; above it, the oldest is dropped."""

Send = Callable[[Any], Awaitable[None]]


class UnreadAnswers:
    """The long answers that a worker is sending.

    Args:
        timeout: Seconds that a client may take to read a part of 256 KiB.
        max_bytes: Maximum bytes of answers in memory.
    """

    def __init__(self, timeout: float, max_bytes: int = MAX_BYTES) -> None:
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._bytes = 0
        # In the order in which they began.
        self._given_up: dict[object, tuple[asyncio.Event, int]] = {}

    async def send(self, message: Any, send: Send) -> bool:
        """Send a body in parts.

        Returns:
            Whether the client read it. If not, the rest is not sent, and the caller ends the
            connection.
        """
        body = message["body"]
        key, given_up = object(), asyncio.Event()
        self._given_up[key] = given_up, len(body)
        self._bytes += len(body)
        self._make_room(key)
        try:
            for start in range(0, len(body), PART_BYTES):
                end = start + PART_BYTES
                part = {**message, "body": body[start:end], "more_body": end < len(body)}
                if not await self._send_part(part, send, given_up):
                    _log.warning(
                        "a client did not read its answer: %d of %d bytes were sent",
                        start, len(body),
                    )  # fmt: skip
                    return False
        finally:
            del self._given_up[key]
            self._bytes -= len(body)
        return True

    async def _send_part(self, part: Any, send: Send, given_up: asyncio.Event) -> bool:
        if given_up.is_set():
            return False
        sending = asyncio.ensure_future(send(part))
        waiting = asyncio.ensure_future(given_up.wait())
        try:
            await asyncio.wait(
                (sending, waiting),
                timeout=self._timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not sending.done():
                return False
            sending.result()
            return True
        finally:
            sending.cancel()
            waiting.cancel()

    def _make_room(self, newest: object) -> None:
        excess = self._bytes - self._max_bytes
        for key, (given_up, size) in self._given_up.items():
            if excess <= 0 or key is newest:
                return
            if not given_up.is_set():
                given_up.set()
            excess -= size
