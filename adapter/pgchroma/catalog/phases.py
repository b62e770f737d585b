"""The phases of an upgrade, between which servers are exchanged one by one.

*Expand* adds what newer code needs: tables, columns with defaults, indexes. Servers of older code
keep running on the result. *Contract* removes what only older code needs. It is run when the last
server of older code has stopped.

The catalog records the oldest code that works with it, in the comment of the table that has its
revision, so that older code can tell whether a newer catalog suits it. A dump may omit comments;
then older code refuses the catalog.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

__all__ = (
    "FLOOR_COMMENT",
    "HEAD",
    "OLDEST",
    "Phase",
    "floor_of",
    "needed_revision",
    "newer_catalog",
    "recorded_floor",
    "works_with",
)

HEAD: Final = "0009"
"""The newest revision; a test checks that it is Alembic's newest."""

OLDEST: Final = "0007"
"""The revision of the oldest code that works with a catalog without contracting revisions."""

CONTRACTING: Final[frozenset[str]] = frozenset()
"""The revisions of the phase `CONTRACT`. They come after those of `EXPAND` of the same release."""

FLOOR_COMMENT: Final = "pgchroma: for code from revision "
"""The beginning of the comment that records the oldest code."""


class Phase(Enum):
    """A phase of an upgrade; the value is its name on the command line."""

    EXPAND = "expand"
    CONTRACT = "contract"

    @classmethod
    def of(cls, revision: str) -> Phase:
        """Return the phase of a revision."""
        return cls.CONTRACT if revision in CONTRACTING else cls.EXPAND


def needed_revision() -> str:
    """Return the oldest revision of a catalog that this code works with."""
    kept = [number for number in _up_to(HEAD) if Phase.of(number) is Phase.EXPAND]
    return kept[-1]


def floor_of(revision: str) -> str:
    """Return the revision of the oldest code that works with a catalog of this revision."""
    contracted = [number for number in _up_to(revision) if Phase.of(number) is Phase.CONTRACT]
    return max([OLDEST, *contracted])


def recorded_floor(comment: str | None) -> str | None:
    """Return the revision of the oldest code that the comment of a catalog records, if it does."""
    found = re.fullmatch(re.escape(FLOOR_COMMENT) + r"(\d{4})", comment or "")
    return None if found is None else found[1]


def works_with(revision: str, floor: str | None) -> bool:
    """Return whether this code works with a catalog.

    Args:
        revision: Its revision.
        floor: The revision of the oldest code that works with it; `None` if it is not recorded.
    """
    if revision > HEAD:
        return floor is not None and floor <= HEAD
    return revision >= needed_revision()


def newer_catalog(revision: str) -> str:
    """Return the message about a catalog that this code does not work with, or cannot change."""
    return (
        f"the catalog is at revision {revision}, newer than this code's {HEAD}. "
        "Run: pip install --upgrade pgchroma"
    )


def _up_to(revision: str) -> list[str]:
    return [f"{number:04}" for number in range(1, int(revision) + 1)]
