"""The command ``pgchroma``, also ``python -m pgchroma``.

The commands are imported here, at the moment of use: they talk to PostgreSQL, and what they need
for that is not part of every installation.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from pgchroma._version import __version__
from pgchroma.errors import MissingExtraError
from pgchroma.extras import check_driver, check_extras

__all__ = ("main",)


def main() -> None:
    """Run the command that the command line names."""
    arguments = sys.argv[1:]
    try:
        check_extras("pgchroma", *_extras(arguments))
        check_driver("pgchroma")
    except MissingExtraError as error:
        if arguments != ["--version"]:
            sys.exit(f"Error: {error}")
        print(f"pgchroma, version {__version__}")  # noqa: T201
        return
    from pgchroma.cli import main as commands  # noqa: PLC0415

    try:
        commands(prog_name="pgchroma")
    finally:
        # What is left is to close what is open; whoever presses Ctrl-C again does not wait for it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _extras(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the extras that a command needs, as far as the command line tells.

    All of them are named in one message, so the arguments are read before what parses them.
    """
    if arguments[:1] != ["run"]:
        has_path = any(argument.startswith("--path") for argument in arguments)
        return ("embedded",) if has_path else ("postgres",)
    has_file = len(arguments) > 1 and not arguments[1].startswith("-")
    has_url = any(argument.startswith("--url") for argument in arguments) or any(
        os.environ.get(name) for name in ("PGCHROMA_URL", "PGCHROMA_URL_FILE")
    )
    return ("server",) if has_url or has_file else ("server", "embedded")


if __name__ == "__main__":
    main()
