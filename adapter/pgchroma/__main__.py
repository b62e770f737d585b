"""The command ``pgchroma``, also ``python -m pgchroma``.

The commands are imported when one is run: they need packages for PostgreSQL, which are not part of
every installation.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from pgchroma._version import __version__
from pgchroma.embedded.platforms import check_embedded
from pgchroma.extras import check_driver, check_extras

__all__ = ("main",)


def main() -> None:
    """Run the command that the command line names."""
    arguments = sys.argv[1:]
    try:
        _check(arguments)
        check_driver("pgchroma")
    except ImportError as error:
        if arguments != ["--version"]:
            sys.exit(f"Error: {error}")
        print(f"pgchroma, version {__version__}")  # noqa: T201
        return
    from pgchroma.cli import main as commands  # noqa: PLC0415

    try:
        commands(prog_name="pgchroma")
    finally:
        # Only cleanup is left; a second Ctrl-C ends the process without waiting for it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _check(arguments: Sequence[str]) -> None:
    """Check the extras that a command needs, as far as the arguments reveal them.

    One message names all of them, so the arguments are read before click, which parses them, is
    imported.
    """
    if arguments[:1] != ["run"]:
        if any(argument.startswith("--path") for argument in arguments):
            check_embedded("pgchroma")
        return
    has_file = len(arguments) > 1 and not arguments[1].startswith("-")
    has_url = any(argument.startswith("--url") for argument in arguments) or any(
        os.environ.get(name) for name in ("PGCHROMA_URL", "PGCHROMA_URL_FILE")
    )
    if has_url or has_file:
        check_extras("pgchroma", "server")
    else:
        check_embedded("pgchroma", "server")


if __name__ == "__main__":
    main()
