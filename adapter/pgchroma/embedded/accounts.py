"""The user PostgreSQL runs as. For root that is a user whom no other program is run as.

A process of the same user could read and change the data, and be PostgreSQL's superuser.
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
"""User ids that no distribution and no part of systemd gives away."""

_NAME: Final = "pgchroma"
"""A user of the machine that is preferred, if there is one."""


@dataclass(frozen=True)
class Account:
    """The user PostgreSQL runs as, and how to become that user."""

    uid: int
    gid: int
    drop: bool = False
    capability: int = -1

    @classmethod
    def of(cls, directory: Path, data: Path, bin_directory: Path) -> Account:
        """The caller; for root the owner of the data or the directory, or a user of its own.

        Raises:
            UnavailableError: root's directories are closed to that user, and cannot be opened.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        uid, gid = _owner(directory, data) or _own_user(directory)
        return cls.reaching(uid, gid, data, bin_directory)

    @classmethod
    def reaching(cls, uid: int, gid: int, data: Path, bin_directory: Path) -> Account:
        """A user root becomes, with the right to reach the data and the binaries.

        Raises:
            UnavailableError: They are closed to that user, and cannot be opened.
        """
        return cls(uid, gid, drop=True, capability=_capability(uid, gid, data, bin_directory))

    @property
    def is_named(self) -> bool:
        """Whether the user database has this user."""
        return _is_named(self.uid)

    def command(self, *command: str | Path) -> list[str]:
        """The command line which runs `command` as this user."""
        words = [str(word) for word in command]
        if not self.drop:
            return words
        become = str(Path(__file__).with_name("unprivileged.py"))
        numbers = [str(number) for number in (self.uid, self.gid, self.capability)]
        return [sys.executable, "-I", "-S", become, *numbers, *words]

    def own(self, directory: Path) -> None:
        """Make a directory of ours this user's, and nobody else's, as PostgreSQL insists."""
        if os.geteuid() == 0 and directory.stat().st_uid != self.uid:
            for parent, _, files in os.walk(directory):
                for name in (".", *files):
                    os.chown(Path(parent, name), self.uid, self.gid, follow_symlinks=False)
        owner = directory.stat().st_uid
        if owner != self.uid:
            raise UnavailableError(
                f"{directory} belongs to user {owner} and this process is user {self.uid}, but"
                f" PostgreSQL serves its own user's data only: run as user {owner}, or run"
                f" `sudo chown -R {self.uid} '{directory.parent}'`"
            )
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            directory.chmod(0o700)


def _owner(directory: Path, data: Path) -> tuple[int, int] | None:
    """Return the user the data or the directory is for, unless that is root or only `nobody`."""
    found = directory.stat()
    if data.exists() and data.stat().st_uid not in {0, *_shared_uids()}:
        found = data.stat()
    return (found.st_uid, found.st_gid) if found.st_uid else None


def _own_user(directory: Path) -> tuple[int, int]:
    """Return the user `pgchroma`, or one without a name, or `nobody` where there is no other."""
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        uid = _free_uid(directory)
        return named_user() if uid is None else (uid, uid)
    return (entry.pw_uid, entry.pw_gid) if entry.pw_uid else named_user()


def _free_uid(directory: Path) -> int | None:
    """Return a user id that is not in use, the same one for a directory each time."""
    found = directory.stat()
    digest = hashlib.blake2b(b"%d %d" % (found.st_dev, found.st_ino), digest_size=4).digest()
    start = int.from_bytes(digest) % len(OWN_UIDS)
    candidates: list[int] = [*OWN_UIDS[start:], *OWN_UIDS[:start]]
    return next((uid for uid in candidates if not _is_named(uid) and _is_mapped(uid)), None)


def _shared_uids() -> set[int]:
    """Return the users whom other programs are run as, too."""
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
    """A user who owns nothing, of the user database, for initdb to be run as.

    Raises:
        UnavailableError: There is none.
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
    """The least capability with which the user reaches the data and the binaries; -1 for none."""
    postgres = (bin_directory / "postgres").resolve()
    places = (*data.parents, *bin_directory.parents, *postgres.parents)
    closed = [place for place in places if not _open_to(place, uid, gid)]
    program_closed = not _open_to(postgres, uid, gid)
    if not closed and not program_closed:
        return -1
    held = _held_capabilities()
    # The right to read everything is less than the right to write everything, but does not let a
    # user run a program which is closed to them; and containers often have the latter only.
    for capability in (_DAC_OVERRIDE,) if program_closed else (_DAC_READ_SEARCH, _DAC_OVERRIDE):
        if held >> capability & held >> _SETPCAP & 1:
            return capability
    first = closed[-1] if closed else postgres
    raise UnavailableError(
        f"PostgreSQL refuses to run as root, and the user {uid} it would run as may not pass"
        f" {first}: run `chmod o+x '{first}'`, choose another path, or start Python as another user"
    )


def _open_to(place: Path, uid: int, gid: int) -> bool:
    found = place.stat()
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
