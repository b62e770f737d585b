"""Where `migrations/` and `sql/` are: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ("resource",)

_PACKAGE = Path(__file__).resolve().parents[1]


def resource(name: str) -> Path:
    """Return the directory of that name.

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    places = (_PACKAGE / f"_{name}", _PACKAGE.parents[1] / name)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"pgchroma's directory {name!r} is neither at {places[0]} nor at {places[1]}; reinstall it"
    )
