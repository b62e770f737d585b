"""An HTTP connection: uvicorn's, with what Chroma's server does and uvicorn does not.

uvicorn parses requests and writes responses. It limits neither how long a head may take nor how
long it may be, keeps the connection of a client that does not read, does not cancel a request whose
client has disconnected, loses the body of a request that offers another protocol, and closes the
connection while the client is still sending, which may cost the client the response.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import quote_from_bytes

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pgchroma.server.http.unread import ABORT

__all__ = ("HEAD_SECONDS", "IDLE_SECONDS", "MAX_HEADERS", "MAX_HEAD_BYTES", "Connection")

HEAD_SECONDS: Final = 10.0
"""How long a request's head may take to arrive, and the first one after the connection is made."""

FIRST_HEAD_AT_END_SECONDS: Final = 1.0
"""How long a new connection may take for its first head when the server stops."""

MAX_HEAD_BYTES: Final = 1 << 16
"""Maximum length of a request's target, and of a head that has not ended."""

MAX_HEADERS: Final = 100
"""Maximum number of a request's headers, as in Chroma."""

IDLE_SECONDS: Final = 3600
"""How long a connection is kept without a request. Chroma keeps it until the client closes it."""

LINGER_SECONDS: Final = 1.0
"""How long a client may go on sending after the response. A connection that is closed while data
arrives is reset, and a client may lose a response that it has not read."""

_ASCII: Final = bytes(range(0x80))


class Connection(HttpToolsProtocol):
    """A connection of a client.

    Attributes:
        answer_timeout: Seconds without progress after which a client counts as not reading.
    """

    answer_timeout: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application = self.app
        self.app = self._run
        self._running: asyncio.Task[Any] | None = None
        self._has_begun = False
        self._is_between_requests = True
        self._is_last_request = False
        self._is_refused = False
        self._is_lost = False
        self._head_bytes = 0
        # Timers
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and refuse a head that is too long."""
        if self._is_refused:
            return
        if self._is_between_requests:
            data = _with_encoded_target(data)
        was_complete = self._head is None
        self._parse(data)
        if self._head is not None:
            self._head_bytes = len(data) if was_complete else self._head_bytes + len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(self._problem() or HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request that is running."""
        self._is_lost = True
        for timer in (self._head, self._unread, self._lingering):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._running is not None:
            self._running.cancel()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Give the application a way to end the connection at once."""
        super().on_message_begin()
        self._is_between_requests = False
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
        if self._head is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._end_head()
        if self._is_refused or self.parser.should_upgrade():
            return
        if (problem := self._problem()) is not None:
            self._refuse(problem)
            return
        super().on_headers_complete()
        self._has_begun = True
        self.cycle.transport = _Transport(self, self.cycle)
        if self._is_last_request:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        if not (self._is_refused or self.parser.should_upgrade()):
            self._is_between_requests = True
            super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            (place,) = upgrade.args
            self._parse_without_upgrade(data[place:])
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request that offers another protocol as if it did not, which HTTP allows.

        Java's client offers HTTP/2 with its first request. The parser takes the body for the other
        protocol.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        lines = [b"%s %s HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name != b"connection":
                lines.append(b"%s: %s" % (name, value))
            elif b"close" in value.lower():
                lines.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", rest]))

    def _problem(self) -> HTTPStatus | None:
        """Return why a head is refused, as far as it has arrived."""
        if len(self.url) > MAX_HEAD_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        if len(self.headers) > MAX_HEADERS:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            return HTTPStatus.BAD_REQUEST
        return None

    # What the server calls

    def shutdown(self) -> None:
        """Close the connection after the request that is running, or that is about to arrive."""
        if self._has_begun:
            super().shutdown()
        else:
            self._is_last_request = True
            self._end_head()
            self._expect_head(FIRST_HEAD_AT_END_SECONDS)

    # What a request calls

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        async def receive_or_end() -> Any:
            message = await receive()
            # What followed the head is no body.
            return {"type": "http.disconnect"} if self._is_refused else message

        self._running = asyncio.current_task()
        try:
            await self._application(scope, receive_or_end, send)
        except asyncio.CancelledError:
            # The client is gone, or the server stops and the request has had its time.
            self.transport.abort()
            await asyncio.sleep(0)
        finally:
            self._running = None

    def on_response_complete(self) -> None:
        """Watch whether the client reads what is left of the response."""
        super().on_response_complete()
        self._watch_reading()

    def close_after(self, cycle: RequestResponseCycle) -> None:
        """Close the connection after the response, and after what the client is still sending."""
        if cycle.more_body and not self._is_lost:
            self._linger()
        else:
            self.transport.close()

    # Ends

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer what is no request, and ignore all that follows."""
        self._is_refused = True
        self._end_head()
        if self._is_answering():
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
            return
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            % (status, status.phrase.encode())
        )
        self._linger()

    def _linger(self) -> None:
        self._is_refused = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._lingering is None:
            self._lingering = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, also if the client has not read everything."""
        self.transport.abort()

    def _expect_head(self, seconds: float | None = None) -> None:
        seconds = HEAD_SECONDS if seconds is None else seconds
        self._head = self.loop.call_later(seconds, self._end_slow_head)

    def _end_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
            self._head_bytes = 0

    def _end_slow_head(self) -> None:
        if self._is_answering():
            # The next request began to arrive while this one is running.
            self._expect_head()
        else:
            self.transport.abort()

    def _is_answering(self) -> bool:
        return self._has_begun and not self.cycle.response_complete

    def _watch_reading(self) -> None:
        size = self.transport.get_write_buffer_size()
        if size and self._unread is None:
            self._unread = self.loop.call_later(self.answer_timeout, self._end_unread, size)

    def _end_unread(self, size: int) -> None:
        self._unread = None
        if self._is_answering():
            return
        if self.transport.get_write_buffer_size() >= size:
            self.transport.abort()
        else:
            self._watch_reading()


class _Transport(asyncio.Transport):
    """What a request writes to. It lets the client finish before the connection is closed."""

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle
        self.write = connection.transport.write  # type: ignore[method-assign]
        self.is_closing = connection.transport.is_closing  # type: ignore[method-assign]

    def close(self) -> None:
        self._connection.close_after(self._cycle)


def _with_encoded_target(data: bytes) -> bytes:
    """Encode the characters of a request's target that are not in ASCII, if they are UTF-8.

    The parser refuses them. Chroma takes them, and programs such as curl send them as they are.
    """
    # The rest may be a long body, which is not copied for most requests.
    end = data.find(b"\n")
    line = data if end < 0 else data[:end]
    if line.isascii():
        return data
    try:
        line.decode()
    except UnicodeDecodeError:
        return data
    return quote_from_bytes(line, _ASCII).encode() + data[len(line) :]
