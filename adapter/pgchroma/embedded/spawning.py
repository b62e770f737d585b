"""The shell that starts a server and detaches from it, or watches it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from pgchroma.embedded import host

if TYPE_CHECKING:
    from pgchroma.embedded.locks import FileLock

__all__ = ("spawn",)

# The shell forks the server and exits, so that no process must wait for the server as its child.
# The lock is standard output, the one descriptor besides the log's that every shell can pass on.
_START: Final = 'shift; "$@" 3>&1 1>&2 </dev/null &'
# An ephemeral server has a shell as its watcher, whose standard input is closed when the owner
# dies. The signal goes to the shell's process group, whose id cannot be reused.
_START_EPHEMERAL: Final = """
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


def spawn(arguments: list[str], lock: FileLock, log: int, *, ephemeral: bool) -> int | None:
    """Start a server in a new session, where it does not get the caller's Ctrl-C.

    Args:
        arguments: The server's directory, that of its sockets, and the command line.
        lock: Inherited by every process of the server.
        log: The descriptor that the server writes to; it is closed here.
        ephemeral: Whether the server stops and its directory is removed when the caller ends.

    Returns:
        The descriptor that tells an ephemeral server's watcher to stop it.
    """
    end, owner_pipe = os.pipe()
    try:
        subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", _START_EPHEMERAL if ephemeral else _START, *arguments],
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
        if not ephemeral:
            os.close(owner_pipe)
    return owner_pipe if ephemeral else None
