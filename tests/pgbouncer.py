"""A real PgBouncer in transaction mode in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.embedded.accounts import Account
from tests.server_process import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_CONFIGURATION = """
[databases]
* = host={host} port={port} user={login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
# Fewer than the tests' clients have, so that transactions of one client meet several servers.
default_pool_size = {pool_size}
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def bouncing(conninfo: str, directory: Path, pool_size: int = 3) -> Iterator[str]:
    """Run PgBouncer in front of a database and yield the connection string through it."""
    known = conninfo_to_dict(conninfo)
    port = free_port()
    file = directory / "pgbouncer.ini"
    file.write_text(
        _CONFIGURATION.format(
            host=known["host"],
            port=known["port"],
            login=known["user"],
            listen_port=port,
            pool_size=pool_size,
        )
    )
    with (directory / "pgbouncer.log").open("wb") as log:
        command = [str(PROGRAM), str(file)]
        if os.geteuid() == 0:
            # PgBouncer refuses root, and only PostgreSQL's own user reaches its socket.
            socket = Path(str(known["host"])).stat()
            command = Account(socket.st_uid, socket.st_gid, drop=True, capability=2).command(
                *command
            )
        process = subprocess.Popen(command, stdout=log, stderr=log)
    through = make_conninfo(host="127.0.0.1", port=port, dbname=known["dbname"], user=known["user"])
    try:
        _wait(through, process, directory / "pgbouncer.log")
        yield through
    finally:
        process.terminate()
        process.wait(30)


def _wait(conninfo: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(conninfo, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError(f"PgBouncer does not answer:\n{log.read_text()}")
