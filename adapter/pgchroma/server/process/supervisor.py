"""Run the server: open the database, create the first key, start the workers and the admin port."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import version
from threading import Event, Thread
from typing import TYPE_CHECKING

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from pgchroma._version import __version__
from pgchroma.backends.checks import prepare_database, reason_of
from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.refusal import is_refused_for_good
from pgchroma.backends.urls import address_of
from pgchroma.embedded.platforms import check_embedded
from pgchroma.errors import InternalError, InvalidArgumentError, UnavailableError
from pgchroma.extras import check_extras
from pgchroma.server.auth.bootstrap import bootstrap_admin_key
from pgchroma.server.observability.logs import configure_logs, redacted_message
from pgchroma.server.process.addresses import Address, bound, resolve
from pgchroma.server.process.embedded_postgres import restarting
from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.server.process.tls import tls_context
from pgchroma.server.process.worker import run_worker
from pgchroma.server.process.workers import Workers
from pgchroma.server.settings import InvalidSettingError, ServerSettings

if TYPE_CHECKING:
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("serve",)

_log = logging.getLogger("pgchroma.server")

DATABASE_WAIT_SECONDS = 60
"""Seconds to wait at startup for a database that is not available yet."""


def serve(
    settings: ServerSettings, show: Callable[[str], None], notices: Sequence[str] = ()
) -> None:
    """Serve until SIGTERM or SIGINT; then wait for running requests.

    Args:
        settings: The server's settings.
        show: Writes an API key to the terminal, because it must not be in a log.
        notices: Warnings about the settings, for the log.

    Raises:
        InvalidSettingError: A setting cannot be applied on this machine.
        ChromaError: The database cannot be used, or a worker cannot start; the message says why.
        InvalidArgumentError: The port is taken.
        MissingExtraError: A package that the settings ask for is not installed.
    """
    configure_logs(settings.log_format, settings.log_level)
    _exit_on_signals()
    _log.info("pgchroma %s starts with %s", __version__, _versions())
    for notice in notices:
        _log.warning(notice)
    began = time.monotonic()
    try:
        _serve(settings, show)
    finally:
        _log.info("pgchroma stopped after %.1f seconds", time.monotonic() - began)


def _serve(settings: ServerSettings, show: Callable[[str], None]) -> None:
    _check_extras(settings)
    tls_context(settings)
    with ExitStack() as stack:
        address, listener = stack.enter_context(
            bound("listen_address", settings.listen_address, settings.port)
        )
        conninfo, postgres = stack.enter_context(_database(settings))
        _prepare(conninfo, settings)
        if settings.auth:
            bootstrap_admin_key(conninfo, settings, show)
        run_directory = stack.enter_context(RunDirectory.create())
        stack.enter_context(restarting(postgres))
        workers = _workers(settings, conninfo, run_directory, listener)
        stack.enter_context(_admin_server(settings, conninfo, run_directory, workers))
        _run(workers, run_directory, _StartupProbe(settings, address))


def _exit_on_signals() -> None:
    """Exit on a signal, as long as there are no requests to wait for."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def _check_extras(settings: ServerSettings) -> None:
    if settings.url is None:
        check_embedded("A server with an embedded PostgreSQL")
    if settings.open_telemetry is not None:
        check_extras("open_telemetry", "telemetry")


@contextmanager
def _database(
    settings: ServerSettings,
) -> Generator[tuple[str, EmbeddedPostgres | None], None, None]:
    if settings.url is not None:
        yield complete_conninfo(settings.url.get_secret_value()), None
        return
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (only where it is used)

    try:
        postgres = EmbeddedPostgres.open(settings.persist_path, announce=_log.info)
    except InvalidArgumentError as error:
        raise InvalidSettingError("persist_path", error.message()) from error
    with postgres:
        yield postgres.conninfo, postgres


def _prepare(conninfo: str, settings: ServerSettings) -> None:
    for attempt in Retrying(
        retry=retry_if_exception_type(UnavailableError),
        stop=stop_after_delay(DATABASE_WAIT_SECONDS),
        wait=wait_exponential(multiplier=0.2, max=5),
        before_sleep=_log_waiting,
        reraise=True,
    ):
        with attempt:
            _prepare_once(conninfo, settings)


def _prepare_once(conninfo: str, settings: ServerSettings) -> None:
    try:
        facts = prepare_database(conninfo, settings.migrations)
    except UnavailableError as error:
        if is_refused_for_good(conninfo):
            reason = f"{address_of(conninfo)} cannot be used: {reason_of(error)}"
            raise InvalidSettingError("url", reason) from error
        raise
    _log.info(
        "the database is %s: PostgreSQL %d.%d, pgvector %s, catalog at revision %s",
        address_of(conninfo),
        *divmod(facts.version, 10_000),
        facts.vector_version,
        facts.revision,
    )


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "litestar", "psycopg"))
    return f"Python {platform.python_version()}, {packages}"


def _log_waiting(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    _log.warning("waiting for the database: %s", redacted_message(error) if error else "")


@contextmanager
def _admin_server(
    settings: ServerSettings,
    conninfo: str,
    run_directory: RunDirectory,
    workers: Workers,
) -> Generator[None, None, None]:
    if settings.admin_port is None:
        yield
        return
    from pgchroma.server.process.health import Health, serve_admin  # noqa: PLC0415  (not where unused)

    address = resolve("admin_address", settings.admin_address, settings.admin_port)
    health = Health(run_directory, conninfo, settings.workers, lambda: workers.is_stopping)
    with serve_admin(address, health):
        _log.info("pgchroma answers /live, /ready and /metrics on http://%s", address)
        yield


def _workers(
    settings: ServerSettings,
    conninfo: str,
    run_directory: RunDirectory,
    listener: socket.socket,
) -> Workers:
    # Workers do not need the first key.
    without_key = settings.model_copy(update={"admin_key": None})
    return Workers(
        partial(run_worker, without_key, conninfo, run_directory),
        settings.workers,
        listener,
        settings.drain_timeout,
    )


def _run(workers: Workers, run_directory: RunDirectory, probe: _StartupProbe) -> None:
    """Run the workers until a signal arrives.

    Raises:
        InternalError: A worker did not start, or workers exited repeatedly.
    """
    with probe.running(run_directory):
        could_run = workers.run()
    reason = run_directory.read_startup_error()
    if reason is not None and not (could_run and probe.has_answered):
        raise InternalError(f"a worker cannot start: {reason}")
    if not could_run:
        raise InternalError("workers exited repeatedly; see the log for the reason")


class _StartupProbe:
    """Waits for the first response, or for an error at startup."""

    def __init__(self, settings: ServerSettings, address: Address) -> None:
        self.has_answered = False
        self._address = address
        self._is_secure = settings.ssl_key is not None
        self._ended = Event()

    @contextmanager
    def running(self, run_directory: RunDirectory) -> Generator[None, None, None]:
        """Probe in a thread: the main thread waits for signals."""
        thread = Thread(target=self._watch, args=(run_directory,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self, run_directory: RunDirectory) -> None:
        while not self._ended.wait(0.05):
            if run_directory.read_startup_error() is not None:
                # The next worker would fail to start for the same reason.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if self._answers():
                self.has_answered = True
                scheme = "https" if self._is_secure else "http"
                _log.info("pgchroma listens on %s://%s", scheme, self._address)
                return

    def _answers(self) -> bool:
        connection = self._connection()
        try:
            connection.request("HEAD", "/api/v2/heartbeat")
            connection.getresponse().read()
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _connection(self) -> HTTPConnection:
        host, port = self._address.own, self._address.port
        if not self._is_secure:
            return HTTPConnection(host, port, timeout=5)
        # The certificate is this server's own, and was issued for another name.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection(host, port, timeout=5, context=context)
