"""The shell that starts a server and lets go of it, or watches over it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from pgchroma.embedded import host

if TYPE_CHECKING:
    from pgchroma.embedded.locks import FileLock

__all__ = ("spawn",)

# The shell forks the server and ends, so that the server is nobody's child to wait for. The lock
# arrives as standard output, the one descriptor besides the log's which every shell can pass on.
_START: Final = 'shift; "$@" 3>&1 1>&2 </dev/null &'
# A throw-away server has a shell watch over it, whose standard input ends with its owner. The
# signal goes to the shell's process group, whose number cannot become another program's.
_START_WATCHED: Final = """
directory=$0 sockets=$1
shift
exec 4<&0
{
  "$@" 3>&1 1>&2 </dev/null 4<&- &
  exec 1>&2
  read -r _ <&4
  trap '' QUIT
  kill -QUIT 0
  wait
  rm -rf -- "$sockets" "$directory"
} &
"""


def spawn(arguments: list[str], lock: FileLock, log: int, *, watched: bool) -> int | None:
    """Start a server in a session of its own, where no Ctrl-C of the caller's reaches it.

    Args:
        arguments: The server's directory, that of its sockets, and the command line.
        lock: What every process of the server inherits.
        log: The descriptor that the server writes to; it is closed.
        watched: Whether the server and its directory go when the caller does.

    Returns:
        The descriptor by which a watched server's watcher is told to end it.
    """
    end, owner_pipe = os.pipe()
    try:
        subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", _START_WATCHED if watched else _START, *arguments],
            stdin=end,
            stdout=lock.fd,
            stderr=log,
            cwd="/",
            env=host.ENVIRONMENT,
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(end)
        os.close(log)
        if not watched:
            os.close(owner_pipe)
    return owner_pipe if watched else None
