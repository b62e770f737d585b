"""A real ``pgchroma run`` on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pgchroma.model.hashes import Key

PATIENCE = 90.0


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        url: Scheme, host and port.
        log: The file with its output.
        conninfo: Its database, if a test needs it.
        first_key: The admin's key it was started with.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    conninfo: str = ""
    first_key: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children.split()}
        return [pid for pid, line in lines.items() if b"spawn_main" in line]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(PATIENCE)


@contextmanager
def running(
    log: Path,
    *arguments: str,
    environment: dict[str, Any] | None = None,
    port: int | None = None,
    address: str = "127.0.0.1",
) -> Iterator[Server]:
    """Start ``pgchroma run`` with these arguments and wait until it answers."""
    port = port or free_port()
    command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", str(port), *arguments]
    first_key = Key.generate().text
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PGCHROMA_ADMIN_KEY": first_key, **(environment or {})},
        )
    server = Server(f"http://{address}:{port}", process, log, first_key=first_key)
    try:
        _wait(server, command)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until a function returns a true value, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """Find a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Server, command: Sequence[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            httpx.get(f"{server.url}/api/v2/heartbeat", timeout=5, verify=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{' '.join(command)} does not answer:\n{server.log.read_text()}")
