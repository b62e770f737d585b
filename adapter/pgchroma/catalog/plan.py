"""What an upgrade would lock and read, derived from its statements without running them.

The statements are those that `pgchroma.catalog.offline` prints. Each kind of statement takes known
locks on the tables that it names; a test compares the result with the locks that PostgreSQL shows
while it runs the upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pgchroma.catalog.phases import HEAD, Phase, needed_revision
from pgchroma.catalog.revisions import revisions_after
from pgchroma.catalog.sql_files import BEFORE, sql_files
from pgchroma.model.plain import count_text
from pgchroma.store.layout.tables import LAYOUT_VERSION
from pgchroma.store.layout.upgrading import BATCH, OldCollection, layout_statements
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("PlannedStep", "count_rows", "locks_of", "plan_upgrade", "statements_of")

LOCK_MODES: Final = (
    "access share",
    "row share",
    "row exclusive",
    "share update exclusive",
    "share",
    "share row exclusive",
    "exclusive",
    "access exclusive",
)
"""PostgreSQL's modes of table locks, each of which excludes at least as much as those before it."""

ROWS_PER_SECOND: Final = 150_000
"""How many rows a step reads or writes in a second. Over a million records of 1 KB on two busy
cores, counting took 0.2 to 1.4 s, building a unique index 2.2 s, and copying positions 5.8 s."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A part of an upgrade that runs in one transaction with others, or on its own.

    Attributes:
        title: What it does.
        phase: The phase that it is a part of.
        locks: The strongest lock on each existing table.
        rows: How many rows it reads or writes, as PostgreSQL estimates it.
        transactions: In how many transactions it runs; 0 means in that of the steps before it.
    """

    title: str
    phase: Phase
    locks: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    transactions: int = 0

    @property
    def seconds(self) -> float:
        """How long it holds its locks, by estimate."""
        return self.rows / ROWS_PER_SECOND

    def to_json(self) -> dict[str, Any]:
        """Return the step in JSON."""
        return {
            "title": self.title,
            "phase": self.phase.value,
            "locks": dict(self.locks),
            "rows": self.rows,
            "seconds": round(self.seconds, 1),
            "transactions": self.transactions,
        }

    def lines(self) -> Iterator[str]:
        """Yield lines of text that describe it."""
        yield f"{self.title} ({self.phase.value})"
        for mode in reversed(LOCK_MODES):
            tables = sorted(name for name, its_mode in self.locks.items() if its_mode == mode)
            if tables:
                yield f"    {count_text(len(tables), 'table')} in {mode} mode: {_listed(tables)}"
        if not self.locks:
            yield "    locks no existing table"
        if self.rows:
            estimate = "less than a second" if self.seconds < 1 else f"about {self.seconds:.0f} s"
            yield f"    about {count_text(self.rows, 'row')}, {estimate}"
        if self.transactions > 1:
            yield f"    in {self.transactions} transactions, each of which locks some of the tables"


def plan_upgrade(
    revision: str | None, old: Sequence[OldCollection], rows: Mapping[str, int]
) -> list[PlannedStep]:
    """Return the steps of an upgrade, in their order.

    Args:
        revision: The revision of the catalog; `None` means an empty database.
        old: The collections whose tables have an older layout.
        rows: How many rows the tables of the catalog have, by name.
    """
    steps = []
    created: set[str] = set()
    for each in revisions_after(revision):
        locks, reads = _summary(each.sql, created, rows)
        title = f"revision {each.number}: {each.title}"
        steps.append(PlannedStep(title, each.phase, locks, reads))
    if revision is None or revision < HEAD:
        text = "\n".join(text for name, text in sql_files().items() if name not in BEFORE)
        locks, _ = _summary(text, created, rows)
        is_first = revision is None or revision < needed_revision()
        phase = Phase.EXPAND if is_first else Phase.CONTRACT
        # An empty database has no tables that others use.
        known = {} if revision is None else locks
        steps.append(PlannedStep("views, functions and triggers", phase, known))
    for version in sorted({each.version for each in old}):
        steps.append(_plan_layout([each for each in old if each.version == version]))
    return steps


def count_rows() -> Steps[dict[str, int]]:
    """Return how many rows the tables of the catalog have, as PostgreSQL estimates it."""
    rows = yield Statement(_ROWS)
    return dict(rows)


def locks_of(statement: str) -> dict[str, str]:
    """Return the lock that a statement takes on each table or view that it names."""
    text = " ".join(statement.split())
    for pattern, mode in _LOCKS:
        if found := re.match(pattern, text, re.IGNORECASE):
            locks = {_name(found["table"]): mode}
            for other in _REFERENCED.finditer(text):
                locks.setdefault(_name(other[1]), "share row exclusive")
            return locks
    return {}


def statements_of(text: str) -> list[str]:
    """Split SQL into statements without comments; quoted texts and functions stay whole."""
    statements, current = [], ""
    for part in _PART.findall(text):
        if part == ";":
            statements.append(current.strip())
            current = ""
        elif not part.startswith("--"):
            current += part
    return [statement for statement in [*statements, current.strip()] if statement]


def _summary(text: str, created: set[str], rows: Mapping[str, int]) -> tuple[dict[str, str], int]:
    """Return the locks on existing tables, and the rows that are read; note created tables."""
    locks: dict[str, str] = {}
    read = 0
    for statement in statements_of(text):
        words = " ".join(statement.split())
        if found := re.match(r"create (?:table|view) (?:if not exists )?(\S+)", words, re.I):
            created.add(_name(found[1]))
        for table, mode in locks_of(statement).items():
            if table not in created:
                locks[table] = _stronger(mode, locks.get(table))
        if _READS.search(words):
            read += max((rows.get(name, 0) for name in locks_of(statement)), default=0)
    return locks, read


def _plan_layout(old: Sequence[OldCollection]) -> PlannedStep:
    """Return the step that upgrades the tables of collections with the same layout."""
    locks: dict[str, str] = {"pgchroma.collections": "row exclusive"}
    for each in old:
        created: set[str] = set()
        texts = (statement.text.decode() for statement in layout_statements(each))
        of_one, _ = _summary(";\n".join(texts), created, {})
        for table, mode in of_one.items():
            locks[table] = _stronger(mode, locks.get(table))
    version, rows = old[0].version, sum(max(each.rows, 0) for each in old)
    title = (
        f"layout {version} to {LAYOUT_VERSION} of {count_text(len(old), 'collection')}, "
        "whose writers wait for that long"
    )
    return PlannedStep(title, Phase.EXPAND, locks, rows, transactions=-(-len(old) // BATCH))


def _stronger(mode: str, other: str | None) -> str:
    return mode if other is None else max(mode, other, key=LOCK_MODES.index)


def _name(text: str) -> str:
    return text.rstrip("(,;").replace('"', "")


def _listed(names: Iterable[str], most: int = 6) -> str:
    shown = list(names)
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


_PART: Final = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\$\$.*?\$\$|;|[^;'$-]+|.", re.DOTALL)

_TABLE: Final = r'(?P<table>(?:"[^"]+"|[\w~]+)\.(?:"[^"]+"|[\w~]+))'

_LOCKS: Final = (
    (rf"alter table (?:only )?{_TABLE}", "access exclusive"),
    (rf"drop (?:table|view) (?:if exists )?{_TABLE}", "access exclusive"),
    (rf"alter view (?:if exists )?{_TABLE}", "access exclusive"),
    (rf"create or replace view {_TABLE}", "access exclusive"),
    (rf"(?:create|drop) policy \S+ on {_TABLE}", "access exclusive"),
    (rf"create (?:or replace )?trigger .*? on {_TABLE}", "share row exclusive"),
    (rf"create (?:unique )?index .*? on {_TABLE}", "share"),
    (rf"create table (?:if not exists )?{_TABLE}", "access exclusive"),
    (rf"lock table {_TABLE} in share row exclusive", "share row exclusive"),
    (rf"comment on (?:table|view) {_TABLE}", "share update exclusive"),
    (rf"insert into {_TABLE}", "row exclusive"),
    (rf"update {_TABLE}", "row exclusive"),
    (rf"delete from {_TABLE}", "row exclusive"),  # noqa: S608  (a pattern)
)

_REFERENCED: Final = re.compile(r"\breferences (\S+)", re.IGNORECASE)

_READS: Final = re.compile(r"add constraint \S+ unique|create (unique )?index", re.IGNORECASE)

_ROWS = render(
    """
    select 'pgchroma.' || relname, greatest(reltuples, 0)::bigint
    from pg_catalog.pg_class
    where relnamespace = to_regnamespace('pgchroma') and relkind = 'r'
    """
)
