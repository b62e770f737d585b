"""The directories `migrations/` and `sql/`, in an installed package or next to it in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ("resource",)

_PACKAGE = Path(__file__).resolve().parents[1]


def resource(name: str) -> Path:
    """Return the path of a directory.

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    paths = (_PACKAGE / f"_{name}", _PACKAGE.parents[1] / name)
    for path in paths:
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"pgchroma's directory {name!r} is neither at {paths[0]} nor at {paths[1]}; reinstall it"
    )
