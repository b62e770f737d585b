"""The user PostgreSQL runs as. If the caller is root, it is a user that runs no other program.

Another process of the same user could read and change the data, and act as PostgreSQL's superuser.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pgchroma.errors import UnavailableError

__all__ = ("Account", "named_user")

_DAC_OVERRIDE, _DAC_READ_SEARCH, _SETPCAP = 1, 2, 8

OWN_UIDS: Final = range(60_706, 61_184)
"""User ids that no distribution and no part of systemd allocates."""

_NAME: Final = "pgchroma"
"""The preferred user of the machine, if it exists."""


@dataclass(frozen=True)
class Account:
    """The user PostgreSQL runs as, and how to become that user."""

    uid: int
    gid: int
    drop: bool = False
    capability: int = -1

    @classmethod
    def of(cls, directory: Path, data: Path, bin_directory: Path) -> Account:
        """Return the caller; for root the owner of the data or the directory, or a separate user.

        Raises:
            UnavailableError: That user cannot access root's directories, nor can it be enabled to.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        uid, gid = _owner(directory, data) or _own_user(directory)
        return cls.reaching(uid, gid, data, bin_directory)

    @classmethod
    def reaching(cls, uid: int, gid: int, data: Path, bin_directory: Path) -> Account:
        """Return a user that root switches to, able to access the data and the binaries.

        Raises:
            UnavailableError: The user cannot access them, nor can it be enabled to.
        """
        return cls(uid, gid, drop=True, capability=_capability(uid, gid, data, bin_directory))

    @property
    def is_named(self) -> bool:
        """Whether the user database has this user."""
        return _is_named(self.uid)

    def command(self, *command: str | Path) -> list[str]:
        """Return the command line that runs `command` as this user."""
        words = [str(word) for word in command]
        if not self.drop:
            return words
        become = str(Path(__file__).with_name("unprivileged.py"))
        numbers = [str(number) for number in (self.uid, self.gid, self.capability)]
        return [sys.executable, "-I", "-S", become, *numbers, *words]

    def take_ownership(self, directory: Path) -> None:
        """Make this user the only one with access to a directory, as PostgreSQL requires.

        Raises:
            UnavailableError: The directory belongs to another user.
        """
        if os.geteuid() == 0 and directory.stat().st_uid != self.uid:
            for parent, _, files in os.walk(directory):
                for name in (".", *files):
                    os.chown(Path(parent, name), self.uid, self.gid, follow_symlinks=False)
        owner = directory.stat().st_uid
        if owner != self.uid:
            raise UnavailableError(
                f"{directory} belongs to user {owner} and this process runs as user {self.uid}, but"
                f" PostgreSQL requires its own user's data: run as user {owner}, or run"
                f" `sudo chown -R {self.uid} '{directory.parent}'`"
            )
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            directory.chmod(0o700)


def _owner(directory: Path, data: Path) -> tuple[int, int] | None:
    """Return the owner of the data or the directory, unless that is root or `nobody`."""
    found = directory.stat()
    if data.exists() and data.stat().st_uid not in {0, *_shared_uids()}:
        found = data.stat()
    return (found.st_uid, found.st_gid) if found.st_uid else None


def _own_user(directory: Path) -> tuple[int, int]:
    """Return the user `pgchroma`, or an unnamed user, or `nobody` if there is no other."""
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        uid = _free_uid(directory)
        return named_user() if uid is None else (uid, uid)
    return (entry.pw_uid, entry.pw_gid) if entry.pw_uid else named_user()


def _free_uid(directory: Path) -> int | None:
    """Return an unused user id, always the same one for a directory."""
    found = directory.stat()
    digest = hashlib.blake2b(b"%d %d" % (found.st_dev, found.st_ino), digest_size=4).digest()
    start = int.from_bytes(digest) % len(OWN_UIDS)
    candidates: list[int] = [*OWN_UIDS[start:], *OWN_UIDS[:start]]
    return next((uid for uid in candidates if not _is_named(uid) and _is_mapped(uid)), None)


def _shared_uids() -> set[int]:
    """Return the users that may also run other programs."""
    try:
        return {pwd.getpwnam("nobody").pw_uid}
    except KeyError:
        return set()


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _is_mapped(uid: int) -> bool:
    """Whether the process's user namespace, such as a container's, has this user."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return True
    spans = [tuple(map(int, line.split())) for line in lines]
    return any(first <= uid < first + count for first, _, count in spans)


def named_user() -> tuple[int, int]:
    """Return a user of the user database that owns nothing, for initdb to run as.

    Raises:
        UnavailableError: There is no such user.
    """
    for name in ("nobody", "postgres"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise UnavailableError(
        "PostgreSQL refuses to run as root, and this machine has no user 'nobody' or 'postgres' to"
        " run it as: add one with `useradd --system postgres`, or start Python as another user"
    )


def _capability(uid: int, gid: int, data: Path, bin_directory: Path) -> int:
    """Return the least capability with which the user can access data and binaries, -1 for none."""
    postgres = (bin_directory / "postgres").resolve()
    paths = (*data.parents, *bin_directory.parents, *postgres.parents)
    closed = [path for path in paths if not _open_to(path, uid, gid)]
    program_closed = not _open_to(postgres, uid, gid)
    if not closed and not program_closed:
        return -1
    held = _held_capabilities()
    # CAP_DAC_READ_SEARCH allows less than CAP_DAC_OVERRIDE, but not to run a program without
    # permission; and containers often have only the latter.
    for capability in (_DAC_OVERRIDE,) if program_closed else (_DAC_READ_SEARCH, _DAC_OVERRIDE):
        if held >> capability & held >> _SETPCAP & 1:
            return capability
    first = closed[-1] if closed else postgres
    raise UnavailableError(
        f"PostgreSQL refuses to run as root, and user {uid}, which it would run as, cannot access"
        f" {first}: run `chmod o+x '{first}'`, choose another path, or start Python as another user"
    )


def _open_to(path: Path, uid: int, gid: int) -> bool:
    found = path.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _held_capabilities() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(s.split()[1], 16) for s in status.splitlines() if s.startswith("CapPrm:"))
