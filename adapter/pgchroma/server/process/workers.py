"""The worker processes: start, replace, renew and stop them."""

from __future__ import annotations

import logging
import math
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final, TypeAlias

__all__ = ("Serve", "Workers")

_log = logging.getLogger("pgchroma.server")

EARLY_SECONDS: Final = 3.5
"""A worker that exits this soon after its start counts as unable to run."""

MAX_EARLY_EXITS: Final = 2
"""This number of them in a row ends the server."""

_KILL_SECONDS: Final = 3.0
"""How long a worker may take to close what it has open, after its requests have ended."""

Serve: TypeAlias = Callable[[socket.socket, Connection], None]
"""What a worker does, in its process: serve on the socket, and write to the pipe when it does."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process.

    Attributes:
        readiness: Readable when the worker listens, and at its end.
        is_ready: Whether it listens.
        ends_by: When it is killed; endless until it is told to stop.
    """

    process: SpawnProcess
    readiness: Connection
    began: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    ends_by: float = math.inf


class Workers:
    """The workers of a server. They accept connections on one socket.

    So a connection is not refused while another worker takes over, and waits for no certain worker.

    Args:
        serve: What a worker does. It is sent to its process.
        count: How many workers run.
        listener: A socket that is bound. Workers listen on it.
        drain_seconds: How long the requests of a worker may run after it was told to stop.
    """

    def __init__(
        self, serve: Serve, count: int, listener: socket.socket, drain_seconds: float
    ) -> None:
        self.is_stopping = False
        self._serve = serve
        self._count = count
        self._listener = listener
        self._drain_seconds = drain_seconds
        # A fork would copy this process's running threads in an undefined state.
        self._context = multiprocessing.get_context("spawn")
        self._wakeup, self._waker = self._context.Pipe(duplex=False)
        self._running: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._outdated: list[_Worker] = []
        self._early_exits = 0
        self._is_renewal_asked = False

    def run(self) -> bool:
        """Run the workers until SIGTERM or SIGINT, and renew them at SIGHUP.

        Returns:
            Whether the workers could run: not if two in a row exited right after their start.
        """
        with self._signals():
            can_run = True
            try:
                while can_run and not self.is_stopping:
                    can_run = self._step()
            finally:
                self.is_stopping = True
                self._stop()
        return can_run

    def stop(self) -> None:
        """Stop the workers; `run` returns when their requests have ended."""
        self.is_stopping = True
        self._wake()

    # One round of the loop

    def _step(self) -> bool:
        """Start, replace and stop workers, and wait for the next event."""
        if self._is_renewal_asked:
            self._is_renewal_asked = False
            self._outdated = list(self._running)
            _log.info("the workers are replaced")
        if not self._remove_exited():
            return False
        is_starting = any(not worker.is_ready for worker in self._running)
        renewing = 1 if self._outdated and not is_starting else 0
        while len(self._running) < self._count + renewing:
            self._running.append(self._start())
        self._wait()
        self._replace_outdated()
        return True

    def _start(self) -> _Worker:
        readiness, sending = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=self._serve, args=(self._listener, sending), name="pgchroma-worker"
        )
        process.start()
        # The worker has the only other end, so that its exit is noticed.
        sending.close()
        return _Worker(process, readiness)

    def _remove_exited(self) -> bool:
        """Remove workers that exited; return whether the others should go on."""
        for worker in [each for each in self._running if not each.process.is_alive()]:
            self._running.remove(worker)
            _log.error(
                "worker %s exited unexpectedly (%s)", worker.process.pid, worker.process.exitcode
            )
            worker.readiness.close()
            if worker in self._outdated:
                self._outdated.remove(worker)
            elif time.monotonic() - worker.began >= EARLY_SECONDS:
                self._early_exits = 0
            elif self._outdated:
                _log.error("a new worker cannot start; the others stay")
                self._outdated = []
            else:
                self._early_exits += 1
                if self._early_exits == MAX_EARLY_EXITS:
                    return False
        for worker in [each for each in self._leaving if not each.process.is_alive()]:
            self._leaving.remove(worker)
            worker.readiness.close()
        return True

    def _wait(self) -> None:
        """Wait for a signal, for a worker, or until one has to be killed."""
        workers = [*self._running, *self._leaving]
        starting: dict[Any, _Worker] = {
            each.readiness: each for each in self._running if not each.is_ready
        }
        deadlines = [each.ends_by for each in self._leaving]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        sentinels = [each.process.sentinel for each in workers]
        for ready in wait([self._wakeup, *starting, *sentinels], timeout):
            if ready is self._wakeup:
                self._wakeup.recv_bytes()
            elif ready in starting:
                starting[ready].is_ready = _has_message(starting[ready].readiness)
        for worker in self._leaving:
            if worker.ends_by <= time.monotonic():
                worker.process.kill()

    def _replace_outdated(self) -> None:
        """Stop an outdated worker if a new one has taken its place."""
        if self._outdated and all(each.is_ready for each in self._running):
            excess = len(self._running) - self._count
            for worker in self._outdated[:excess]:
                self._outdated.remove(worker)
                self._running.remove(worker)
                self._leave(worker)

    # The end

    def _leave(self, worker: _Worker) -> None:
        worker.process.terminate()
        worker.ends_by = time.monotonic() + self._drain_seconds + _KILL_SECONDS
        self._leaving.append(worker)

    def _stop(self) -> None:
        # From now on, connections are refused as soon as no worker listens.
        self._listener.close()
        for worker in self._running:
            self._leave(worker)
        self._running = []
        for worker in self._leaving:
            worker.process.join(max(0.0, worker.ends_by - time.monotonic()))
            if worker.process.is_alive():
                _log.error("worker %s did not stop and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()

    # Signals

    @contextmanager
    def _signals(self) -> Generator[None, None, None]:
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self._renew
        before = {
            number: signal.signal(number, lambda *_, handle=handle: handle())
            for number, handle in handlers.items()
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _renew(self) -> None:
        self._is_renewal_asked = True
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send_bytes(b"")


def _has_message(readiness: Connection) -> bool:
    try:
        readiness.recv_bytes()
    except EOFError:
        # The worker exited; its sentinel tells it.
        return False
    return True
