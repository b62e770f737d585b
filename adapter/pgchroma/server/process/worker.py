"""A worker process: build the application and what it needs, and start and stop them."""

from __future__ import annotations

import logging
import signal
import socket
from asyncio import to_thread
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from pgchroma.errors import ChromaError
from pgchroma.server.observability.logs import configure_logs, redacted_message
from pgchroma.server.process.liveness import abort_startup, liveness
from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.server.settings import ServerSettings

if TYPE_CHECKING:
    from pgchroma.embedded.space import DiskSpace
    from pgchroma.server.database import ReconnectingBackend
    from pgchroma.server.http.middleware import RequestMiddleware
    from pgchroma.server.observability.metrics import Metrics
    from pgchroma.server.observability.telemetry import Telemetry

__all__ = ("create_worker", "run_worker")

_log = logging.getLogger("pgchroma.server")


def run_worker(
    settings: ServerSettings,
    conninfo: str,
    run_directory: RunDirectory,
    listener: socket.socket,
    readiness: Connection,
) -> None:
    """Serve until SIGTERM. This is what a worker process does.

    Args:
        settings: The server's settings.
        conninfo: The database's URL or connection string; its catalog is up to date.
        run_directory: What the worker shares with the supervisor.
        listener: The socket that all workers accept connections on.
        readiness: Gets a message when the worker listens.
    """
    configure_logs(settings.log_format, settings.log_level)
    if hasattr(signal, "SIGHUP"):
        # It is for the supervisor; a terminal sends it to all.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The supervisor sends this function to its workers, and needs no HTTP server itself.
    from pgchroma.server.process.http_server import serve_http  # noqa: PLC0415

    try:
        application = create_worker(settings, conninfo, run_directory)
    except Exception as error:
        _log.error("the worker cannot start", exc_info=error)
        abort_startup(run_directory, redacted_message(error))
    serve_http(application, listener, settings, lambda: readiness.send_bytes(b"ready"))


def create_worker(
    settings: ServerSettings, conninfo: str, run_directory: RunDirectory
) -> RequestMiddleware:
    """Create the application of a worker, with its database, metrics and telemetry.

    Args:
        settings: The server's settings.
        conninfo: The database's URL or connection string; its catalog is up to date.
        run_directory: What the worker shares with the supervisor.
    """
    # The supervisor needs none of these imports itself.
    from pgchroma.server.database import ReconnectingBackend  # noqa: PLC0415
    from pgchroma.server.http.app import create_app  # noqa: PLC0415

    metrics, telemetry = _metrics(settings, run_directory), _telemetry(settings)
    database = ReconnectingBackend(
        conninfo, settings.backend_settings(), metrics, telemetry, _space(settings)
    )
    lifespan = _lifespan(database, run_directory, metrics, telemetry)
    return create_app(settings, database, lifespan, metrics, telemetry)


def _space(settings: ServerSettings) -> DiskSpace | None:
    """Return the disk to check before writes; `None` if the server does not run PostgreSQL."""
    if settings.url is not None:
        return None
    from pgchroma.embedded.space import DiskSpace  # noqa: PLC0415  (only where it is used)

    return DiskSpace(settings.persist_path.expanduser().resolve())


def _metrics(settings: ServerSettings, run_directory: RunDirectory) -> Metrics | None:
    if settings.admin_port is None:
        return None
    from pgchroma.server.observability.metrics import enable_multiprocess  # noqa: PLC0415  (not without an admin port)

    return enable_multiprocess(run_directory.metrics)


def _telemetry(settings: ServerSettings) -> Telemetry | None:
    if settings.open_telemetry is None:
        return None
    from pgchroma.server.observability.telemetry import Telemetry  # noqa: PLC0415  (an extra)

    return Telemetry(settings.open_telemetry)


def _lifespan(
    database: ReconnectingBackend,
    run_directory: RunDirectory,
    metrics: Metrics | None,
    telemetry: Telemetry | None,
) -> Any:
    def record_pool() -> None:
        if metrics is not None:
            metrics.set_pool(database.statistics())

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncGenerator[None, None]:
        try:
            await database.start()
        except ChromaError as error:
            abort_startup(run_directory, error.message())
        try:
            async with liveness(run_directory, None if metrics is None else record_pool):
                yield
        finally:
            await database.close()
            if telemetry is not None:
                await to_thread(telemetry.close)

    return lifespan
