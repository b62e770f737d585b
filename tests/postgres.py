"""The PostgreSQL that the tests run on: the embedded one, or that of another directory of programs.

`PGCHROMA_TEST_POSTGRES` names the directory, such as ``/usr/lib/postgresql/17/bin``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.conninfo import make_conninfo

from pgchroma.embedded import EmbeddedPostgres
from pgchroma.embedded.accounts import Account, named_user
from tests.server_process import eventually

__all__ = ("VARIABLE", "Postgres", "serving_postgres")

VARIABLE = "PGCHROMA_TEST_POSTGRES"

_NAME = "pgchroma"

_OPTIONS = (
    "--locale=C.UTF-8", "--encoding=UTF8", f"--username={_NAME}", "--auth=trust", "--no-sync",
    "--no-instructions",
)  # fmt: skip
_SETTINGS = {
    "listen_addresses": "", "max_connections": "200", "max_locks_per_transaction": "256",
    "shared_buffers": "128MB", "fsync": "off", "full_page_writes": "off", "jit": "off",
    "timezone": "UTC", "port": "5432",
}  # fmt: skip


class Postgres(Protocol):
    """A server that runs."""

    @property
    def conninfo(self) -> str:
        """How to connect to it, as a superuser."""

    @property
    def directory(self) -> Path:
        """A directory that it may read."""


@dataclass(frozen=True, slots=True)
class _Another:
    conninfo: str
    directory: Path


@contextmanager
def serving_postgres(directory: Path) -> Iterator[Postgres]:
    """Start a server with its data below this directory, which is deleted with its contents."""
    if programs := os.environ.get(VARIABLE):
        with _started(Path(programs), directory) as another:
            yield another
    else:
        with EmbeddedPostgres.open(directory, durable=False) as postgres:
            yield postgres


@contextmanager
def _started(programs: Path, directory: Path) -> Iterator[_Another]:
    data, sockets, log = directory / "data", directory / "sockets", directory / "log"
    account = _account(directory, data, programs)
    for place in (data, sockets):
        place.mkdir()
        os.chown(place, account.uid, account.gid)
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    options = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
    with log.open("wb") as output:
        initdb = account.command(programs / "initdb", "-D", data, *_OPTIONS)
        made = subprocess.run(initdb, stdout=output, stderr=output, check=False)
        assert made.returncode == 0, log.read_text()
        process = subprocess.Popen(
            account.command(programs / "postgres", "-D", data, *options),
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        maintenance = make_conninfo(host=str(sockets), port=5432, user=_NAME, dbname="template1")
        eventually(lambda: process.poll() is not None or _answers(maintenance))
        assert process.poll() is None, log.read_text()
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute("alter database postgres rename to pgchroma")
        yield _Another(make_conninfo(maintenance, dbname=_NAME), directory)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _account(directory: Path, data: Path, programs: Path) -> Account:
    # PostgreSQL refuses to run as root, and initdb as a user without a name.
    if os.geteuid() == 0:
        return Account.reaching(*named_user(), data, programs)
    return Account.of(directory, data, programs)


def _answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError:
        return False
    return True
