"""Handles on embedded servers: open one by its path or an ephemeral one, close and restart it."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pgchroma.embedded import host
from pgchroma.embedded.cluster import Cluster
from pgchroma.embedded.conninfo import url_of
from pgchroma.embedded.directory import check_exists, check_new, resolved
from pgchroma.embedded.locks import FileLock
from pgchroma.embedded.membership import START_LOCK, USERS, Membership, explained, locked
from pgchroma.embedded.space import DiskSpace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("EmbeddedPostgres",)


class EmbeddedPostgres:
    """The PostgreSQL server of a directory, shared by every process that opens it.

    `open` and `open_ephemeral` create handles; a handle is a context manager. Open handles are
    closed when the process ends. A forked child neither keeps its parent's server running nor stops
    it: a child that needs the server for longer than its parent must open the path itself.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        _open.add(self)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        durable: bool = True,
        create: bool = True,
        announce: Callable[[str], None] | None = None,
    ) -> Self:
        """Join the server of a path, or start it; a new path is initialised first.

        Args:
            path: A directory, which is created if it does not exist. Other files in it are kept.
            durable: Whether commits survive a crash of the machine. Without it the server is
                faster, but the data can be lost. A server that is running stays as it is.
            create: Whether a database is created if the directory has none.
            announce: Called with a line to show to a waiting user; writes to stderr by default.

        Raises:
            ImportError: The binaries are not installed.
            InvalidArgumentError: The path is a URL or an address, cannot be a directory, has no
                database while `create` is false, or has data of Chroma or LanceDB instead.
            UnavailableError: The server cannot be started, or refuses connections.
            VersionMismatchError: The data belongs to another version of PostgreSQL.
        """
        directory = resolved(path)
        if not create:
            check_exists(directory)
        _close_removed()
        with explained(directory):
            check_new(directory)
            directory.mkdir(parents=True, exist_ok=True)
            cluster = Cluster(directory, announce or _write_to_stderr, durable=durable)
            return cls(_joined(cluster))

    @classmethod
    def open_ephemeral(cls, *, announce: Callable[[str], None] | None = None) -> Self:
        """Join this process's ephemeral server, or start it in a temporary directory.

        The server stops and the directory is removed when its last handle is closed or the process
        ends, even if it is killed.

        Args:
            announce: Called with a line to show to a waiting user; writes to stderr by default.

        Raises:
            ImportError: The binaries are not installed.
            UnavailableError: The server cannot be started.
        """
        parent = host.temporary_directory() / f"pgchroma-{os.geteuid()}-ephemeral"
        with _ephemeral.lock, explained(parent):
            membership = _ephemeral.membership
            if membership is None or not membership.is_usable():
                cluster, users = _new_ephemeral(parent, announce or _write_to_stderr)
                membership = Membership(cluster, _ephemeral.lock, users)
            with membership.exclusive() as start_lock:
                membership.enter(start_lock)
            _ephemeral.membership = membership
            return cls(membership)

    @staticmethod
    def forget_ephemeral() -> None:
        """Make the next `open_ephemeral` start another server; open handles keep this one."""
        _ephemeral.membership = None

    @property
    def conninfo(self) -> str:
        """The connection string, for libpq and `psycopg.connect`."""
        return self._membership.conninfo

    @property
    def url(self) -> str:
        """The URL for other programs, whose libpq also reads its environment variables."""
        return url_of(self.conninfo)

    @property
    def directory(self) -> Path:
        """The directory, resolved."""
        return self._membership.cluster.directory

    @property
    def space(self) -> DiskSpace:
        """The disk of the directory."""
        return self._membership.cluster.space

    @property
    def incarnation(self) -> object:
        """A value that changes when a new server is started."""
        return self._membership.cluster.incarnation

    def is_gone(self) -> bool:
        """Whether the directory was removed, renamed or replaced, and its data with it."""
        return self._membership.is_gone()

    def is_down(self) -> bool:
        """Whether the server has stopped, such as after a crash. Takes a few microseconds.

        Raises:
            UnavailableError: The directory was removed, renamed or replaced.
        """
        self._membership.check_there()
        return not self._membership.is_running()

    def revive(self) -> str:
        """Restart the server if it has stopped, wait until it answers, and return `conninfo`.

        Of several callers and processes, one starts it and the others wait. After a failure, the
        next attempt is made no earlier than a second later, then two, up to half a minute.

        Raises:
            UnavailableError: The server does not start, or did not start a moment ago; or the
                directory is gone.
        """
        self._membership.revive()
        return self._membership.conninfo

    def close(self) -> None:
        """Close the handle, and stop the server if no other handle or process uses it."""
        try:
            _open.remove(self)
        except KeyError:
            return
        if self._membership.leave() and _memberships.get(self.directory) is self._membership:
            del _memberships[self.directory]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_open: set[EmbeddedPostgres] = set()
_memberships: dict[Path, Membership] = {}


def _joined(cluster: Cluster) -> Membership:
    """Return this process's membership of a directory's server, with one more handle."""
    with locked(cluster.directory / START_LOCK, cluster.announce) as start_lock:
        membership = _memberships.get(cluster.directory)
        if membership is None or not membership.is_usable():
            membership = Membership(cluster, contextlib.nullcontext())
        membership.cluster.announce = cluster.announce
        membership.enter(start_lock)
        _memberships[cluster.directory] = membership
        return membership


class _Ephemeral:
    """The ephemeral server of this process, and the lock for opening and closing it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.membership: Membership | None = None


_ephemeral = _Ephemeral()


def _close_all() -> None:
    with contextlib.ExitStack() as leftovers:
        for postgres in list(_open):
            leftovers.callback(postgres.close)


def _close_removed() -> None:
    """Stop servers whose directory was removed, before another starts on a recreated path."""
    for postgres in list(_open):
        if postgres.is_gone():
            postgres.close()


def _forget_all() -> None:
    """Forget the parent's handles in a forked child: only the parent may close them."""
    _open.clear()
    _memberships.clear()
    _ephemeral.lock, _ephemeral.membership = threading.Lock(), None


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)


def _new_ephemeral(parent: Path, announce: Callable[[str], None]) -> tuple[Cluster, FileLock]:
    """Remove stale ephemeral servers, and create a directory, already locked, for a new one.

    The lock keeps other processes from removing a directory that is not locked yet as stale.
    """
    # For root, the server runs as another user, which must be able to pass the directory.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    host.make_private(parent, mode)
    with locked(parent / "lock", announce):
        for found in parent.iterdir():
            if found.is_dir():
                _remove_stale(Cluster(found, announce, durable=False, ephemeral=True))
        directory = Path(tempfile.mkdtemp(dir=parent))
        directory.chmod(mode)
        users = FileLock(directory / USERS)
        users.try_shared()
    return Cluster(directory, announce, durable=False, ephemeral=True), users


def _remove_stale(cluster: Cluster) -> None:
    """Remove the ephemeral server of a dead process, unless its watcher does so first."""
    with (
        contextlib.suppress(FileNotFoundError),
        FileLock(cluster.directory / USERS) as users,
    ):
        if users.try_exclusive():
            cluster.stop()


def _write_to_stderr(line: str) -> None:
    # A process without a terminal may have no stderr at all.
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
