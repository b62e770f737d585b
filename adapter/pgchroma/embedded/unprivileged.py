"""Run a command as another user: `python unprivileged.py UID GID CAPABILITY COMMAND [ARGUMENT]...`.

PostgreSQL refuses to run as root, but other users often cannot access root's directories.
CAPABILITY is the number of the Linux capability that the command keeps to access them, -1 for none.

This is a separate program that uses only the standard library, because changing the user between
fork and exec is unsafe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import sys

_SECURE_BITS, _NO_SETUID_FIXUP = 28, 1 << 2
_AMBIENT, _AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x20080522


def main(uid: int, gid: int, capability: int, command: list[str]) -> None:
    """Change the user, keep the capability, and execute the command."""
    if capability >= 0:
        # Without this, access(2), which PostgreSQL calls for its own binary, ignores the
        # capability. It also keeps root's capabilities until they are restricted below.
        _call("prctl", _SECURE_BITS, _NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability >= 0:
        _restrict_to(capability)
    os.execv(command[0], command)  # noqa: S606


def _restrict_to(capability: int) -> None:
    """Drop every capability but this one, which survives the exec."""
    kept = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)
    _call("capset", header, sets)
    _call("prctl", _AMBIENT, _AMBIENT_RAISE, capability, 0, 0)


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl takes unsigned longs; a plain Python integer would be passed as a C int.
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    if getattr(libc, function)(*wide) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[4]} as user {sys.argv[1]}: {error}")
