"""The server from start to stop: the database, the first key, the workers, the admin port."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from pgchroma.client.connect import connect_async, plain_conninfo
from pgchroma.errors import InvalidArgumentError, UnavailableError
from pgchroma.schema import prepare
from pgchroma.server.app import create_app
from pgchroma.server.door import ensure_first_key
from pgchroma.server.settings import ServerSettings
from pgchroma.store.faults import translated

__all__ = ("serve",)

_log = logging.getLogger("pgchroma.server")

PATIENCE = 60
"""Seconds to wait at the start for a database that is not there yet."""

HEADER_TIMEOUT_MS = 10_000
"""How long a request's head may take to arrive; a connection held open longer is closed."""

CONNECTIONS = 16_384
"""The most connections a worker keeps; the system's limit of open files is below or above it."""


def serve(settings: ServerSettings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; then let running requests end.

    Args:
        settings: What the operator wants.
        announce: Takes what the operator should read at the start, an API key among it.

    Raises:
        ChromaError: The database cannot be used; the message says why and what to do.
        InvalidArgumentError: The port is taken.
    """
    with ExitStack() as stack:
        conninfo = stack.enter_context(_database(settings))
        _check_port(settings)
        _prepare(conninfo, settings)
        if settings.auth:
            _announce_first_key(conninfo, settings, announce)
        announce(f"pgchroma listens on {_address(settings)}")
        # A fork would copy this process's threads in the middle of what they do.
        multiprocessing.set_start_method("spawn", force=True)
        _granian(settings).serve(
            target_loader=partial(create_app, settings, conninfo), wrap_loader=False
        )


@contextmanager
def _database(settings: ServerSettings) -> Generator[str, None, None]:
    if settings.url is not None:
        yield plain_conninfo(settings.url.get_secret_value())
        return
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (only where it is used)

    with EmbeddedPostgres.open(settings.persist_path) as postgres:
        yield postgres.conninfo


def _check_port(settings: ServerSettings) -> None:
    family, kind, _, _, address = socket.getaddrinfo(
        settings.listen_address, settings.port, type=socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as fault:
            raise InvalidArgumentError(
                f"{settings.listen_address}:{settings.port} cannot be listened on: {fault.strerror}"
            ) from fault


def _prepare(conninfo: str, settings: ServerSettings) -> None:
    for attempt in Retrying(
        retry=retry_if_exception_type(UnavailableError),
        stop=stop_after_delay(PATIENCE),
        wait=wait_exponential(multiplier=0.2, max=5),
        before_sleep=lambda state: _log.warning("waiting for the database: %s", state.outcome),
        reraise=True,
    ):
        with attempt, translated(), psycopg.connect(conninfo, autocommit=True) as connection:
            prepare(connection, settings.migrations)


def _announce_first_key(
    conninfo: str, settings: ServerSettings, announce: Callable[[str], None]
) -> None:
    async def make() -> str | None:
        backend = await connect_async(conninfo, settings.backend_settings())
        try:
            return await ensure_first_key(backend)
        finally:
            await backend.close()

    key = asyncio.run(make())
    if key is not None:
        announce(
            f"There was no API key yet, so here is one for an admin; it is not shown again:\n{key}"
        )


def _address(settings: ServerSettings) -> str:
    scheme = "http" if settings.ssl_key is None else "https"
    return f"{scheme}://{settings.listen_address}:{settings.port}"


def _granian(settings: ServerSettings) -> Any:
    return Granian(
        "pgchroma",
        address=socket.gethostbyname(settings.listen_address),
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        backlog=4096,
        backpressure=CONNECTIONS,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
        websockets=False,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=max(1, round(settings.drain_timeout)),
        ssl_cert=settings.ssl_certificate,
        ssl_key=settings.ssl_key,
    )
