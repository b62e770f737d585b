"""Run a program of PostgreSQL to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from pgchroma.embedded import host
from pgchroma.errors import UnavailableError

__all__ = ("run_program",)

_MAX_LINES: Final = 8


def run_program(
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
    *,
    pass_fds: Sequence[int] = (),
) -> None:
    """Run a program in its own session; kill all its processes if the caller is interrupted.

    Ctrl-C reaches the program through the caller only. initdb starts servers, which would continue
    to write if only initdb were killed.

    Args:
        command: The command line, with absolute paths.
        variables: Environment variables of the program, besides those of every program.
        pass_fds: Descriptors that it inherits.

    Raises:
        UnavailableError: It failed; the message is the end of its output.
    """
    with subprocess.Popen(  # noqa: S603
        command,
        env={**host.ENVIRONMENT, **(variables or {})},
        cwd="/",
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            # All processes may have ended since the exception was raised.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        lines = (errors.strip() or output.strip()).splitlines()[-_MAX_LINES:]
        raise UnavailableError("\n".join(lines) or _ended(process.returncode))


def _ended(code: int) -> str:
    """Say how a program ended that printed nothing."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name}) ended it"
    except ValueError:
        return f"signal {-code} ended it"
