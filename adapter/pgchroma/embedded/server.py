"""Opening and closing: who uses the server of a path, and who stops it.

Every `EmbeddedPostgres` holds a shared flock on `pgchroma.lock` in its directory. The one which, on
closing, gets that lock alone is the last, and stops the server. The kernel returns the lock of a
process which is killed; its server then stays until somebody opens the path and closes it again.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pgchroma.embedded import host
from pgchroma.embedded.cluster import Cluster
from pgchroma.embedded.directory import check_exists, check_new, resolved
from pgchroma.embedded.locks import FileLock, patiently
from pgchroma.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("EmbeddedPostgres",)

_USERS, _MUTEX = "pgchroma.lock", "pgchroma.start.lock"


class EmbeddedPostgres:
    """A PostgreSQL server of this path's own, shared by every process that opens it.

    Made by `open` or `open_ephemeral`; a context manager. What is not closed is closed when the
    process ends. A forked child neither keeps its parent's server nor stops it: a child which
    needs the server for longer than its parent opens the path itself.
    """

    def __init__(
        self,
        cluster: Cluster,
        guard: contextlib.AbstractContextManager[object],
        users: FileLock | None = None,
    ) -> None:
        self._cluster = cluster
        self._guard = guard
        with self._alone() as mutex:
            self._users = users or FileLock(cluster.directory / _USERS)
            # Whoever had it alone would have the mutex, so there is nothing to wait for.
            self._users.try_shared()
            try:
                self._conninfo = cluster.ensure_running(mutex)
            except BaseException:
                self._leave(cluster.stop)
                raise
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
        with _explained(directory):
            check_new(directory)
            directory.mkdir(parents=True, exist_ok=True)
            cluster = Cluster(directory, announce or _write_to_stderr, durable=durable)
            return cls(cluster, contextlib.nullcontext())

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
        with _ephemeral.guard, _explained(place):
            users = None
            if _ephemeral.cluster is None or not _ephemeral.cluster.directory.exists():
                _ephemeral.cluster, users = _new_ephemeral(place, announce or _write_to_stderr)
            return cls(_ephemeral.cluster, _ephemeral.guard, users)

    @property
    def conninfo(self) -> str:
        """How to connect, as libpq and `psycopg.connect` take it."""
        return self._conninfo

    def close(self) -> None:
        """Leave the server, and stop it when nobody else uses it. Closing twice is fine."""
        try:
            _open.remove(self)
        except KeyError:
            return
        with self._guard, _explained(self._cluster.directory):
            if self._removed():
                self._leave(self._cluster.stop_removed)
                return
            with self._alone():
                self._leave(self._cluster.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _removed(self) -> bool:
        """Whether the directory was removed or renamed under us, and perhaps made anew."""
        try:
            there = (self._cluster.directory / _USERS).stat()
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self._users.fd))

    def _leave(self, stop: Callable[[], None]) -> None:
        try:
            if self._users.try_exclusive():
                stop()
        finally:
            self._users.release()

    def _alone(self) -> contextlib.AbstractContextManager[FileLock]:
        """Start and stop while nobody else does."""
        return _locked(self._cluster.directory / _MUTEX, self._cluster.announce)


_open: set[EmbeddedPostgres] = set()


class _Ephemeral:
    """The throw-away server of this process, and the lock of whoever opens or closes it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.cluster: Cluster | None = None


_ephemeral = _Ephemeral()


def _close_all() -> None:
    with contextlib.ExitStack() as leftovers:
        for postgres in list(_open):
            leftovers.callback(postgres.close)


def _close_removed() -> None:
    """End servers whose directory was removed, before another is started on a path made anew."""
    for postgres in list(_open):
        if postgres._removed():
            postgres.close()


def _forget_all() -> None:
    """A forked child has its parent's objects, but what they stand for is its parent's to close."""
    _open.clear()
    _ephemeral.guard, _ephemeral.cluster = threading.Lock(), None


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
    with _locked(place / "lock", announce):
        for found in place.iterdir():
            if found.is_dir():
                _sweep(Cluster(found, announce, durable=False, watched=True))
        directory = Path(tempfile.mkdtemp(dir=place))
        directory.chmod(mode)
        users = FileLock(directory / _USERS)
        users.try_shared()
    return Cluster(directory, announce, durable=False, watched=True), users


def _sweep(cluster: Cluster) -> None:
    """Remove the throw-away server of a dead process, unless its watcher is first."""
    with (
        contextlib.suppress(FileNotFoundError),
        FileLock(cluster.directory / _USERS) as users,
    ):
        if users.try_exclusive():
            cluster.stop()


@contextlib.contextmanager
def _locked(path: Path, announce: Callable[[str], None]) -> Iterator[FileLock]:
    notice = f"pgchroma: waiting for another process to start or stop PostgreSQL in {path.parent}"
    with FileLock(path) as lock:
        for _ in patiently(announce, notice):
            if lock.try_exclusive():
                break
        yield lock


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn the operating system's errors into ours."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidArgumentError(
            f"{directory} is not a directory: choose a path which is one, or is not there yet"
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"PostgreSQL cannot work in {directory}: {error}{_ADVICE.get(error.errno or 0, '')}"
        ) from error


_WRITABLE = ": choose a path which this user can write to"
_ADVICE = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: ": the disk is full, and about 64 MiB are needed",
}


def _write_to_stderr(line: str) -> None:
    # A process without a terminal may have no stderr at all.
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
