"""Handle Ctrl-C while the command ``pgchroma`` is still importing modules.

Python imports the package before any code of the command runs, so it is enough that the package
imports this module first. In other programs this module has no effect.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final

__all__ = ("INTERRUPTED",)

INTERRUPTED: Final = 130
"""The conventional exit code after SIGINT."""


def _is_command() -> bool:
    # While the package of `python -m` is imported, the program's name is `-m`.
    program = sys.argv[0] if sys.argv else ""
    if program != "-m":
        return Path(program).name == "pgchroma"
    return any(
        option == "-m" and module.partition(".")[0] == "pgchroma"
        for option, module in pairwise(sys.orig_argv)
    )


def _exit(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    sys.__excepthook__(kind, error, trace)


if _is_command():
    sys.excepthook = _exit
