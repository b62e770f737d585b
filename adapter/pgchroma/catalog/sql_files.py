"""The files of `sql/`: replaceable objects, and what has to exist before the revisions run."""

from __future__ import annotations

from typing import Final

from pgchroma.catalog.phases import FLOOR_COMMENT, floor_of
from pgchroma.catalog.resources import resource

__all__ = ("BEFORE", "CATALOG", "LOCK", "TRIGRAMS", "VECTOR", "floor_comment", "sql_files")

BEFORE: Final = ("00_lock.sql", "01_vector.sql", "02_trigrams.sql", "03_catalog.sql")
"""The files that run before the revisions; all others run after them."""

LOCK, VECTOR, TRIGRAMS, CATALOG = BEFORE


def sql_files() -> dict[str, str]:
    """Return the texts of the files of `sql/` by name, in the order in which they run."""
    files = sorted(resource("sql").glob("*.sql"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def floor_comment(revision: str) -> str:
    """Return the statement that records the oldest code for a catalog of this revision."""
    text = f"{FLOOR_COMMENT}{floor_of(revision)}"
    return f"comment on table pgchroma.alembic_version is '{text}';\n"
