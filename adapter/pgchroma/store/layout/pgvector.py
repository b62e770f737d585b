"""What can be done safely with HNSW indexes, depending on the version of pgvector.

Two operations have bugs in older versions: building an index with several processes before 0.8.2,
and removing entries from an index, which only vacuum does, before 0.8.4. Building with one process,
inserting and searching have none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("PARALLEL_BUILDS", "SOUND", "PgvectorVersion", "read_pgvector_version")


@dataclass(frozen=True, slots=True, order=True)
class PgvectorVersion:
    """A version of pgvector, such as `(0, 8, 2)`."""

    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> PgvectorVersion:
        """Read a version, such as ``0.8.2`` or ``0.9.0-dev``."""
        return cls(tuple(int(part) for part in re.findall(r"\d+", text)[:3]))

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))

    @property
    def builds_in_parallel(self) -> bool:
        """Whether several processes may build one HNSW index.

        Before 0.8.2 a build could write beyond its part of the shared memory.
        """
        return self >= PARALLEL_BUILDS

    @property
    def vacuums_indexes(self) -> bool:
        """Whether vacuum may remove entries from an HNSW index.

        Up to 0.8.2 it can damage the index, and in 0.8.3 it can fail.
        """
        return self >= SOUND


PARALLEL_BUILDS: Final = PgvectorVersion((0, 8, 2))
"""The first version in which several processes may build one HNSW index."""

SOUND: Final = PgvectorVersion((0, 8, 4))
"""The first version in which no bug in HNSW indexes is known."""


def read_pgvector_version() -> Steps[PgvectorVersion]:
    """Return the version of the extension in this database.

    New files of a server may be in use before the extension is updated, so pgvector itself may be
    newer.
    """
    rows = yield Statement(_VERSION)
    return PgvectorVersion.parse(rows[0][0] if rows else "")


_VERSION = render("select extversion from pg_catalog.pg_extension where extname = 'vector'")
