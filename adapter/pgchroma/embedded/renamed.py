"""Run a command under another user's name: `python renamed.py UID GID COMMAND [ARGUMENT]...`.

In a new user namespace the command sees this process's user as the given one. Outside, nothing
changes: the files it creates belong to this user. If namespaces are forbidden, it exits with 1.

This is a separate program that uses only the standard library, because a process must have no
threads to enter a namespace, and cannot leave it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_NEW_USER = 0x10000000


def main(uid: int, gid: int, command: list[str]) -> None:
    """Enter a namespace in which this user is `uid`, and execute the command."""
    own_uid, own_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"user namespaces: {os.strerror(code)}")
    process = Path("/proc/self")
    (process / "uid_map").write_text(f"{uid} {own_uid} 1\n")
    # The kernel requires this before an unprivileged user may map a group.
    (process / "setgroups").write_text("deny")
    (process / "gid_map").write_text(f"{gid} {own_gid} 1\n")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except OSError as error:
        sys.exit(str(error))
