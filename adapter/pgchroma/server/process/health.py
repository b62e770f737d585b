"""The admin port: liveness, readiness and metrics.

The supervisor answers, so that the answer does not depend on a worker that hangs.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from pgchroma.backends.checks import prepare_database
from pgchroma.backends.conninfo import plain_conninfo
from pgchroma.errors import ChromaError, UnavailableError, VersionMismatchError
from pgchroma.server.process.addresses import Address
from pgchroma.server.process.run_directory import DEAD_AFTER, STALE_AFTER, RunDirectory

__all__ = ("Health", "serve_admin")

_CONNECT_TIMEOUT_SECONDS = 3
"""Seconds the database may take to answer."""


class Health:
    """Checks the server.

    Args:
        run_directory: Has the workers' heartbeats.
        conninfo: The database.
        workers: How many workers are configured.
        is_stopping: Whether the server is shutting down.
    """

    def __init__(
        self,
        run_directory: RunDirectory,
        conninfo: str,
        workers: int,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run_directory = run_directory
        self.workers = workers
        self._conninfo = conninfo
        self._is_stopping = is_stopping
        self._started = time.monotonic()

    def running(self) -> list[int]:
        """Return the process ids of the running workers, and clean up after those that exited.

        Gauges of an exited process, such as requests in progress, are removed; its counters stay.
        """
        running = []
        for pid, age in sorted(self.run_directory.heartbeat_ages().items()):
            if not _exists(pid):
                # Another request may be removing the same files.
                with suppress(FileNotFoundError):
                    mark_process_dead(pid, str(self.run_directory.metrics))  # type: ignore[no-untyped-call]
                if age > DEAD_AFTER:
                    # Not earlier: a worker that is being replaced does not count as missing yet.
                    self.run_directory.forget(pid)
            elif age < DEAD_AFTER:
                running.append(pid)
        return running

    def is_live(self) -> dict[str, str]:
        """Return the problems that a restart may fix, by component."""
        recent = sum(age < DEAD_AFTER for age in self.run_directory.heartbeat_ages().values())
        is_starting = time.monotonic() - self._started < DEAD_AFTER
        if recent >= self.workers or is_starting:
            return {}
        return {"workers": f"{recent} of {self.workers} are alive"}

    def is_ready(self) -> dict[str, str]:
        """Return the problems that keep the server from answering, by component."""
        missing = {"server": "is stopping"} if self._is_stopping() else {}
        running = set(self.running())
        heartbeat_ages = self.run_directory.heartbeat_ages()
        answering = sum(age < STALE_AFTER for pid, age in heartbeat_ages.items() if pid in running)
        if answering < self.workers:
            missing["workers"] = f"{answering} of {self.workers} answer"
        return missing | self._database()

    def _database(self) -> dict[str, str]:
        # PostgreSQL's messages are not shown: they name users, hosts and databases.
        try:
            conninfo = plain_conninfo(self._conninfo)
            prepare_database(conninfo, "validate", connect_timeout=_CONNECT_TIMEOUT_SECONDS)
        except UnavailableError:
            return {"database": "cannot be reached"}
        except VersionMismatchError as error:
            return {"catalog": error.message()}
        except ChromaError as error:
            return {"database": f"cannot be used ({type(error).__name__})"}
        return {}


@contextmanager
def serve_admin(address: Address, health: Health) -> Generator[None, None, None]:
    """Serve ``/live``, ``/ready`` and ``/metrics`` in a thread."""

    class Server(_Server):
        address_family = address.family

    with Server((address.host, address.port), _Handler) as server:
        server.set_app(_application(health))
        thread = Thread(target=server.serve_forever, name="pgchroma-admin", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # The parent class resolves this machine's name, which can take long.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = 10
    protocol_version = "HTTP/1.0"

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log probes."""


def _application(health: Health) -> WSGIApplication:
    metrics = make_wsgi_app(_registry(health))
    checks = {"/live": health.is_live, "/ready": health.is_ready}

    def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] != "GET":
            return _respond(start, "405 Method Not Allowed", {"error": "only GET is allowed"})
        if path == "/metrics":
            health.running()
            return metrics(environ, start)  # type: ignore[no-any-return]
        if path not in checks:
            return _respond(start, "404 Not Found", {"paths": "/live /ready /metrics"})
        missing = checks[path]()
        status = "503 Service Unavailable" if missing else "200 OK"
        return _respond(start, status, {"ok": not missing, **missing})

    return application


def _respond(start: StartResponse, status: str, content: dict[str, Any]) -> list[bytes]:
    body = json.dumps(content).encode()
    start(status, [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


def _registry(health: Health) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Workers(health.run_directory.metrics))
    registry.register(_Processes(health))
    return registry


class _Workers:
    """The metrics that the workers have written to files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        # The file of a worker that is just starting is empty for a moment. Reading it would fail.
        files = [str(file) for file in self._directory.glob("*.db") if _size(file)]
        return MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call, no-any-return]


class _Processes:
    """Metrics of the number of workers and of each process's resources."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        running = self._health.running()
        workers = GaugeMetricFamily("pgchroma_workers", "Worker processes.", labels=["state"])
        workers.add_metric(["configured"], self._health.workers)
        workers.add_metric(["running"], len(running))
        named = {f"worker-{number}": pid for number, pid in enumerate(running, 1)}
        return [workers, *_measure({"supervisor": os.getpid(), **named})]


def _measure(processes: dict[str, int]) -> Iterable[Metric]:
    families: dict[str, Metric] = {}
    for name, pid in processes.items():
        collector = ProcessCollector("pgchroma", partial(str, pid), registry=None)
        for found in collector.collect():
            family = families.setdefault(
                found.name, Metric(found.name, found.documentation, found.type)
            )
            for sample in found.samples:
                family.add_sample(sample.name, {"process": name}, sample.value)
    return families.values()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
