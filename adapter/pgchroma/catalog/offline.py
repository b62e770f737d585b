"""The SQL of an upgrade, for review: what `pgchroma migrate` would run on a database.

It is meant to be run by hand, for example with ``psql -f``. Each transaction limits how long it
waits for a lock and how long a statement runs. After a transaction that failed, run the rest again:
printing the SQL again leaves out what is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pgchroma.catalog.phases import HEAD, Phase, needed_revision
from pgchroma.catalog.revisions import upgrade_sql
from pgchroma.catalog.sql_files import BEFORE, LOCK, VECTOR, floor_comment, sql_files
from pgchroma.store.layout.tables import LAYOUT_VERSION
from pgchroma.store.layout.upgrading import OldCollection, layout_statements
from pgchroma.store.running.search_path import ADD_SCHEMA
from pgchroma.store.running.steps import render

__all__ = ("TimeLimits", "offline_sql")


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Limits of each transaction, in seconds; 0 means none."""

    lock: float = 5.0
    statement: float = 900.0

    def sql(self) -> str:
        """Return the statements that set them until the transaction ends."""
        return (
            f"set local lock_timeout = '{round(self.lock * 1000)}ms';\n"
            f"set local statement_timeout = '{round(self.statement * 1000)}ms';\n"
        )


_LIMITS: Final = TimeLimits()


def offline_sql(
    revision: str | None = None,
    old: Sequence[OldCollection] = (),
    *,
    phase: Phase | None = None,
    limits: TimeLimits = _LIMITS,
) -> str:
    """Return the SQL of an upgrade.

    Args:
        revision: The revision of the catalog; `None` means an empty database.
        old: The collections whose tables have an older layout.
        phase: The only phase to print; `None` means all.
        limits: The limits of each transaction.
    """
    parts: list[str] = []
    is_new, needed = revision is None, needed_revision()
    if phase is not Phase.CONTRACT:
        last = HEAD if is_new or phase is None else needed
        if is_new or revision < last:  # type: ignore[operator]  # it is a string then
            parts += _catalog(revision, last, limits)
        parts += [part for each in old for part in _layout(each, limits)]
    elif not is_new and needed <= revision < HEAD:  # type: ignore[operator]  # as above
        parts += _catalog(revision, HEAD, limits)
    return "\n".join(parts) if parts else _NOTHING.format(revision)


_UPDATE: Final = """
update pgchroma.collections set layout_version = {new}
where id = {id}::uuid and layout_version = {old};
"""

_SEARCH_PATH: Final = ADD_SCHEMA.text.decode().strip() + ";\n"

_NOTHING: Final = "-- The catalog is at revision {}, and nothing is left to do.\n"


def _catalog(revision: str | None, last: str, limits: TimeLimits) -> Iterator[str]:
    files = sql_files()
    before = {name: files.pop(name) for name in BEFORE}
    yield f"-- The catalog, from {revision or 'nothing'} to revision {last}.\nbegin;\n"
    yield before.pop(LOCK) + "\n" + limits.sql()
    yield before.pop(VECTOR)
    yield _SEARCH_PATH
    yield from before.values()
    yield upgrade_sql(revision, last)
    yield from files.values()
    yield floor_comment(last)
    yield "commit;\n"


def _layout(old: OldCollection, limits: TimeLimits) -> Iterator[str]:
    """Return the upgrade of one collection's tables, in a transaction of its own."""
    name = "".join(character if character.isprintable() else "?" for character in old.name)
    yield f"-- Collection {name}: layout {old.version} to {LAYOUT_VERSION}.\nbegin;\n"
    yield sql_files()[LOCK] + "\n" + limits.sql()
    yield _SEARCH_PATH
    for statement in layout_statements(old):
        yield statement.text.decode().strip() + ";\n"
    parts = {"new": LAYOUT_VERSION, "id": str(old.id), "old": old.version}
    yield render(_UPDATE, **{name: sql.Literal(value) for name, value in parts.items()}).decode()
    yield "commit;\n"
