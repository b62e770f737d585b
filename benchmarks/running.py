"""A server of either side of a benchmark over HTTP: started, found ready, weighed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import Processes, command_line

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"

_PGCHROMA = [
    str(ROOT / ".venv" / "bin" / "pgchroma"),
    *("run", "--path", "{path}", "--port", "{port}", "--no-auth", "--workers", "{workers}"),
]

COMMANDS = {
    "chroma": [
        str(Path(sys.executable).parent / "chroma"),
        *("run", "--path", "{path}", "--host", HOST, "--port", "{port}"),
    ],
    "pgchroma": ["env", "PGCHROMA_MEMORY_INDEX=false", *_PGCHROMA],
    "pgchroma with memory": ["env", "PGCHROMA_MEMORY_INDEX=true", *_PGCHROMA],
}
"""How each side's server is started; Chroma's is the one of the environment this runs in. With
memory means with indexes in memory."""

READY_SECONDS = 120
STOP_SECONDS = 30


@dataclass
class Server(Processes):
    """A running server."""

    port: int

    def memory(self) -> dict[str, float]:
        """Weigh its processes, in MB."""
        found = {"server, RSS": 0.0, "PostgreSQL, RSS": 0.0, "all, PSS": 0.0}
        for weight in self.weights():
            part = "PostgreSQL, RSS" if weight.name == "postgres" else "server, RSS"
            found[part] += weight.rss
            found["all, PSS"] += weight.pss
        return {name: size for name, size in found.items() if size}


@contextmanager
def serving(name: str, path: Path, *, workers: int) -> Iterator[Server]:
    """Run a side's server on a directory, which may have been used before."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [word.format(path=path, port=port, workers=workers) for word in COMMANDS[name]]
    log = path.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=path.parent, start_new_session=True
        )
    server = Server(process.pid, path, port)
    try:
        _wait_until_ready(process, port)
        yield server
    except Exception:
        end = log.read_text(encoding="utf-8", errors="replace")[-3_000:]
        print(f"the end of what {name} printed:\n{end}", file=sys.stderr)
        raise
    finally:
        _stop(process, server)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/api/v2/heartbeat", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("The server did not get ready")


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    """Ask the server to stop; after a while kill its remaining processes, and print a message."""
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while process.poll() is None or server.processes():
        if time.monotonic() > deadline:
            for pid in server.processes():
                print(f"killing what did not stop: {command_line(pid)}", file=sys.stderr)
                os.kill(pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.1)
