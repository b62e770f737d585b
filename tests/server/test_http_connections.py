"""What a client may do with a connection, and how long it may take for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from pgchroma.server.http import connection as connections
from pgchroma.server.http.connection import Connection
from pgchroma.server.http.unread import ABORT
from pgchroma.server.process.addresses import bound

GET = b"GET /now HTTP/1.1\r\nhost: x\r\n\r\n"

Application = Callable[[Any, Any, Any], Awaitable[None]]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Send the path, and the body that was received."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await respond(send, scope["raw_path"] + b":" + body)


async def respond(send: Any, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Served:
    """A listening socket whose connections an application serves."""

    def __init__(self, application: Application) -> None:
        self.state = ServerState()
        self._application = application

    async def __aenter__(self) -> Served:
        configuration = uvicorn.Config(
            self._application, interface="asgi3", http=Connection, ws="none", log_config=None
        )
        configuration.load()
        loop = asyncio.get_running_loop()

        def create(_loop: Any = None) -> Connection:
            return Connection(configuration, self.state, {}, loop)

        self._server = await loop.create_server(create, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for each in list(self.state.connections):
            each.transport.abort()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def is_left(self) -> None:
        """Wait until there is no connection."""
        while self.state.connections:
            await asyncio.sleep(0.01)


Scenario = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Scenario:
    """Run a scenario on each kind of event loop."""

    def run(scenario: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await scenario()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited())

    return run


@pytest.fixture
def short_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)


async def read_response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "next"])
@pytest.mark.parametrize("part", [b"G", b"GET /x HTTP/1.1\r\nhost: "], ids=["method", "header"])
@pytest.mark.usefixtures("short_head")
def test_a_head_that_does_not_end_ends_the_connection(
    run: Scenario, before: bytes, part: bytes
) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            if before:
                writer.write(before)
                assert await read_response(reader) == b"/now:"
            writer.write(part)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
            await served.is_left()
            writer.close()

    run(scenario)


@pytest.mark.usefixtures("short_head")
def test_a_connection_that_sends_nothing_is_ended_before_its_first_request_only(
    run: Scenario,
) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            silent, silent_writer = await served.connect()
            reader, writer = await served.connect()
            writer.write(GET)
            assert await read_response(reader) == b"/now:"
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await silent.readexactly(1)
            silent_writer.close()
            await asyncio.sleep(0.5)
            writer.write(GET)
            assert await read_response(reader) == b"/now:"
            writer.close()

    run(scenario)


@pytest.mark.usefixtures("short_head")
def test_a_running_request_is_not_ended_by_the_head_of_the_next(run: Scenario) -> None:
    async def slow(_: Any, __: Any, send: Any) -> None:
        await asyncio.sleep(0.6)
        await respond(send, b"done")

    async def scenario() -> None:
        async with Served(slow) as served:
            reader, writer = await served.connect()
            writer.write(GET + b"GET /next HTT")
            assert await read_response(reader) == b"done"
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "line", [b"x: " + b"y" * 500_000, b"x: y\r\n" * 100_000], ids=["header", "headers"]
)
def test_a_head_that_is_too_long_is_refused(run: Scenario, line: bytes) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            writer.write(b"GET / HTTP/1.1\r\n" + line)
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
            await served.is_left()
            writer.close()

    run(scenario)


def test_a_long_head_is_no_reason_to_refuse_a_body(run: Scenario) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            body = b"x" * 3_000_000
            head = b"POST /a HTTP/1.1\r\nx: %s\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % (b"y" * 30_000, len(body)) + body + GET)
            assert len(await read_response(reader)) == len(body) + 3
            assert await read_response(reader) == b"/now:"
            writer.close()

    run(scenario)


def test_a_request_ends_with_its_client(run: Scenario) -> None:
    began, cancelled = [], []

    async def endless(_: Any, __: Any, ___: Any) -> None:
        began.append(True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario() -> None:
        async with Served(endless) as served:
            _, writer = await served.connect()
            writer.write(GET)
            while not began:
                await asyncio.sleep(0.01)
            writer.close()
            while served.state.tasks or not cancelled:
                await asyncio.sleep(0.01)

    run(scenario)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_client_that_does_not_read_is_left(
    run: Scenario, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    monkeypatch.setattr(Connection, "answer_timeout", 0.2)

    async def long(_: Any, __: Any, send: Any) -> None:
        await respond(send, b"x" * 30_000_000)

    async def scenario() -> None:
        async with Served(long) as served:
            with socket.socket() as silent:
                silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                silent.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(silent, ("127.0.0.1", served.port))
                request = GET if is_kept else GET.replace(b"host", b"connection: close\r\nhost")
                await loop.sock_sendall(silent, request)
                await asyncio.sleep(0.05)
                await served.is_left()

    run(scenario)


def test_a_client_that_reads_slowly_gets_its_answer(
    run: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "answer_timeout", 0.3)

    async def long(_: Any, __: Any, send: Any) -> None:
        await respond(send, b"x" * 6_000_000)

    async def scenario() -> None:
        async with Served(long) as served:
            reader, writer = await served.connect()
            writer.write(GET)
            received = 0
            while received < 6_000_000:
                received += len(await reader.read(1_000_000))
                await asyncio.sleep(0.02)
            writer.close()

    run(scenario)


def test_the_application_can_end_a_connection_at_once(run: Scenario) -> None:
    async def abort(scope: Any, _: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["extensions"][ABORT]["abort"]()
        await asyncio.sleep(0)

    async def scenario() -> None:
        async with Served(abort) as served:
            reader, writer = await served.connect()
            writer.write(GET)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(100_000)
            await served.is_left()
            writer.close()

    run(scenario)


@pytest.mark.parametrize("size", [4, 3_000_000])
@pytest.mark.parametrize("is_last", [False, True])
def test_a_request_that_offers_another_protocol_is_answered(
    run: Scenario, *, size: int, is_last: bool
) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            close = b", close" if is_last else b""
            # What Java's client sends first.
            writer.write(
                b"POST /a HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings%s\r\n"
                b"upgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
                b"content-length: %d\r\n\r\n" % (close, size)
            )
            writer.write(b"x" * size)
            assert await read_response(reader) == b"/a:" + b"x" * size
            if is_last:
                assert await reader.read() == b""
            else:
                writer.write(GET)
                assert await read_response(reader) == b"/now:"
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"GET / HTTP/1.1\r\n bad: x\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
    ],
    ids=["TLS", "negative", "two lengths", "contradiction", "folded", "NUL", "CONNECT"],
)
def test_what_is_no_request_is_refused(run: Scenario, request_: bytes) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            writer.write(request_)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()

    run(scenario)


def test_small_packets_are_sent_at_once(run: Scenario) -> None:
    # Otherwise a client waits 40 ms for the rest of an answer.
    async def scenario() -> None:
        found: list[int] = []

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                of = transport.get_extra_info("socket")
                found.append(of.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with bound("listen_address", "127.0.0.1", 0) as (address, listener):
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Accepted, sock=listener.dup())
            _, writer = await asyncio.open_connection(address.host, address.port)
            while not found:
                await asyncio.sleep(0.01)
            writer.close()
            server.close()
        assert found == [1]

    run(scenario)


def test_requests_that_arrive_together_are_answered_in_order(run: Scenario) -> None:
    async def scenario() -> None:
        async with Served(answer) as served:
            reader, writer = await served.connect()
            writer.write(b"".join(GET.replace(b"now", b"%d" % n) for n in range(50)))
            assert [await read_response(reader) for _ in range(50)] == [
                b"/%d:" % n for n in range(50)
            ]
            writer.close()

    run(scenario)
