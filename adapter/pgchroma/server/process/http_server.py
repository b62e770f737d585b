"""The HTTP server of a worker: uvicorn on the worker's listening socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import uvicorn

from pgchroma.server.http.connection import IDLE_SECONDS, Connection
from pgchroma.server.process.tls import tls_context
from pgchroma.server.settings import ServerSettings

__all__ = ("BACKLOG", "MAX_CONNECTIONS", "serve_http")

BACKLOG: Final = 4096
"""How many connections may wait until a worker accepts them."""

MAX_CONNECTIONS: Final = 16_384
"""Maximum number of connections of a worker; the system's limit of open files may be lower."""


def serve_http(
    application: Any,
    listener: socket.socket,
    settings: ServerSettings,
    on_ready: Callable[[], None],
) -> None:
    """Serve an application until SIGTERM; then wait for running requests.

    Args:
        application: The ASGI application.
        listener: A socket that is bound. Other processes may have it, too.
        settings: The server's settings.
        on_ready: Called when the socket listens.
    """
    server = _Server(_configuration(application, settings), on_ready)
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        runner.run(server.serve([listener]))


def _configuration(application: Any, settings: ServerSettings) -> uvicorn.Config:
    class _Connection(Connection):
        answer_timeout = settings.answer_timeout

    configuration = uvicorn.Config(
        application,
        interface="asgi3",
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
    )
    configuration.load()
    configuration.ssl = tls_context(settings)
    return configuration


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Server(uvicorn.Server):
    def __init__(self, configuration: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(configuration)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The supervisor gets the signals of a terminal, too, and passes them on. uvicorn would send
        # itself the signal once more at the end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
