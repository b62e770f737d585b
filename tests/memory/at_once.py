"""Indexes in memory for other suites: small ones, too, and built by the query that misses them.

With ``pytest --memory-indexes``, every direct client has them. Nothing but recall may then change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgchroma.memory import builder
from pgchroma.memory.builder import Builder, RefusedError
from pgchroma.memory.directory import Directory, OccupiedError
from pgchroma.memory.files import FileIndex, SegmentKey
from pgchroma.memory.source import VanishedError
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.search import proposed
from pgchroma.store.search.proposed import ProposedQuery

MIN_ENTRIES = 20
"""Smaller segments get no index: there is too little to learn its parameters from."""

PATIENCE = 1.0
"""Seconds for which writers are awaited. Some tests have one that does not end."""


@dataclass
class Answers:
    """How many answers with proposed candidates there were."""

    complete: int = 0
    discarded: int = 0


ANSWERS = Answers()


@dataclass
class IndexesAtOnce:
    """A `pgchroma.store.proposers.Proposers` that builds an index when it is first missed."""

    conninfo: str
    directory: Directory
    _opened: dict[SegmentKey, FileIndex | None] = field(default_factory=dict)

    def find(self, resolved: ResolvedCollection) -> Sequence[FileIndex | None]:
        return [
            self._find(SegmentKey(resolved.tables.id, generation, each.first_pos, each.end_pos))
            for generation in [resolved.tables.generation]
            for each in resolved.indexes.segments
        ]

    def doubt(self, tokens: Sequence[str]) -> None:
        self._opened = {
            key: index
            for key, index in self._opened.items()
            if index is not None and index.token not in tokens
        }

    def stop(self) -> None:
        """There is no thread."""

    def close(self) -> None:
        """There is no thread."""

    def _find(self, key: SegmentKey) -> FileIndex | None:
        if key not in self._opened:
            try:
                self._opened[key] = self._build(key)
            except RefusedError:
                self._opened[key] = None
            except (VanishedError, OccupiedError, psycopg.Error):
                return None
        return self._opened[key]

    def _build(self, key: SegmentKey) -> FileIndex:
        until = time.monotonic() + PATIENCE

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return time.monotonic() > until

        return Builder(self.conninfo, self.directory, wait).build(key)


@contextmanager
def everywhere(directory: Path) -> Iterator[None]:
    """Give all direct clients outside a caller's transaction indexes in memory."""
    place = Directory(directory, 1 << 30)
    place.prepare()
    judge = ProposedQuery.has_all_matches

    def make(conninfo: str, _: Any, *, in_caller_transaction: bool) -> IndexesAtOnce | None:
        if in_caller_transaction:
            return None
        return IndexesAtOnce(make_conninfo(conninfo, connect_timeout=10), place)

    def judged(query: ProposedQuery, rows: Any) -> bool:
        is_complete = judge(query, rows)
        ANSWERS.complete += is_complete
        ANSWERS.discarded += not is_complete
        return is_complete

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "MIN_ENTRIES", MIN_ENTRIES)
        patch.setattr(proposed, "MIN_PART", 1)
        patch.setattr(ProposedQuery, "has_all_matches", judged)
        for connect in ("_sync", "_async"):
            patch.setattr(f"pgchroma.backends.{connect}.connect.make_proposers", make)
        yield
