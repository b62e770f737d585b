"""Handles on embedded servers: opened by path or throw-away, closed, healed."""

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
from pgchroma.embedded.membership import MUTEX, USERS, Membership, explained, locked
from pgchroma.embedded.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("EmbeddedPostgres",)


class EmbeddedPostgres:
    """A PostgreSQL server of this path's own, shared by every process that opens it.

    Made by `open` or `open_ephemeral`; a context manager. What is not closed is closed when the
    process ends. A forked child neither keeps its parent's server nor stops it: a child which
    needs the server for longer than its parent opens the path itself.
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
        """Join the server of this path, or start it, preparing the path when it is new.

        Args:
            path: A directory, which is made if there is none. Other files in it are left alone.
            durable: Whether what is committed survives a crash of the machine. Without it the
                server is faster, and the path good for throwing away only. A server which runs
                already stays as it is.
            create: Whether a database is created in a directory that has none.
            announce: Called with a line to show to a waiting user; writes to stderr by default.

        Raises:
            ImportError: The binaries are not installed.
            InvalidArgumentError: The path is a URL or an address, cannot be a directory, has no
                database while `create` is false, or has data of Chroma or LanceDB instead.
            UnavailableError: The server cannot be started or reached.
            VersionMismatchError: The path's data is another PostgreSQL version's.
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
        """Join this process's throw-away server, or start it in a temporary directory.

        The directory goes with the server, when the last to have opened it closes or the process
        ends, however it ends.

        Args:
            announce: Called with a line to show to a waiting user; writes to stderr by default.

        Raises:
            ImportError: The binaries are not installed.
            UnavailableError: The server cannot be started.
        """
        place = host.temporary_directory() / f"pgchroma-{os.geteuid()}-ephemeral"
        with _ephemeral.guard, explained(place):
            membership = _ephemeral.membership
            if membership is None or not membership.is_usable():
                cluster, users = _new_ephemeral(place, announce or _write_to_stderr)
                membership = Membership(cluster, _ephemeral.guard, users)
            with membership.alone() as mutex:
                membership.enter(mutex)
            _ephemeral.membership = membership
            return cls(membership)

    @staticmethod
    def forget_ephemeral() -> None:
        """Have the next `open_ephemeral` start another server; this one stays for its handles."""
        _ephemeral.membership = None

    @property
    def conninfo(self) -> str:
        """How to connect, as libpq and `psycopg.connect` take it."""
        return self._membership.conninfo

    @property
    def url(self) -> str:
        """The address as a URL for other programs, whose libpq follows its variables, too."""
        return url_of(self.conninfo)

    @property
    def directory(self) -> Path:
        """The directory, resolved."""
        return self._membership.cluster.directory

    @property
    def space(self) -> Space:
        """The disk of the directory."""
        return self._membership.cluster.space

    @property
    def incarnation(self) -> object:
        """What is equal as long as no new server was started."""
        return self._membership.cluster.incarnation

    def is_gone(self) -> bool:
        """Whether the directory was removed, renamed or replaced; its data is no longer there."""
        return self._membership.is_gone()

    def is_down(self) -> bool:
        """Whether the server has stopped, such as after a crash. Takes a few microseconds.

        Raises:
            UnavailableError: The directory was removed, renamed or replaced.
        """
        self._membership.check_there()
        return not self._membership.is_running()

    def revive(self) -> str:
        """Start the server again if it has stopped, wait until it answers, and return `conninfo`.

        Of several callers and processes one starts it, and the others wait. After a failure the
        next attempt is made a second later, then two, up to half a minute.

        Raises:
            UnavailableError: It does not start, or did not a moment ago; or the directory is gone.
        """
        self._membership.revive()
        return self._membership.conninfo

    def close(self) -> None:
        """Leave the server, and stop it when no other handle or process uses it."""
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
    """Enter the server of a directory, by the membership this process has already."""
    with locked(cluster.directory / MUTEX, cluster.announce) as mutex:
        membership = _memberships.get(cluster.directory)
        if membership is None or not membership.is_usable():
            membership = Membership(cluster, contextlib.nullcontext())
        membership.cluster.announce = cluster.announce
        membership.enter(mutex)
        _memberships[cluster.directory] = membership
        return membership


class _Ephemeral:
    """The throw-away server of this process, and the lock of whoever opens or closes it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.membership: Membership | None = None


_ephemeral = _Ephemeral()


def _close_all() -> None:
    with contextlib.ExitStack() as leftovers:
        for postgres in list(_open):
            leftovers.callback(postgres.close)


def _close_removed() -> None:
    """End servers whose directory was removed, before another is started on a path made anew."""
    for postgres in list(_open):
        if postgres.is_gone():
            postgres.close()


def _forget_all() -> None:
    """A forked child has its parent's objects, but what they stand for is its parent's to close."""
    _open.clear()
    _memberships.clear()
    _ephemeral.guard, _ephemeral.membership = threading.Lock(), None


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)


def _new_ephemeral(place: Path, announce: Callable[[str], None]) -> tuple[Cluster, FileLock]:
    """A directory for a throw-away server, locked by its user already, once dead ones are gone.

    No other process looks around here meanwhile, or it would take a directory which is not locked
    yet for one whose owner has died.
    """
    # For root the server runs as another user, who has to pass.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    host.make_private(place, mode)
    with locked(place / "lock", announce):
        for found in place.iterdir():
            if found.is_dir():
                _sweep(Cluster(found, announce, durable=False, watched=True))
        directory = Path(tempfile.mkdtemp(dir=place))
        directory.chmod(mode)
        users = FileLock(directory / USERS)
        users.try_shared()
    return Cluster(directory, announce, durable=False, watched=True), users


def _sweep(cluster: Cluster) -> None:
    """Remove the throw-away server of a dead process, unless its watcher is first."""
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
