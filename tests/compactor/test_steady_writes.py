"""The compactor beside writers that never pause, on a simulated clock."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pgchroma.compactor import planner
from pgchroma.compactor import thread as compactor_thread
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import (
    Build,
    IndexSpec,
    Inspection,
    SegmentRow,
    TrackedCollection,
)
from pgchroma.compactor.thread import POLL_SECONDS, Compactor, _CollectionState
from pgchroma.model.configuration import CollectionConfiguration
from tests.compactor.test_rules import TABLES

SETTINGS = CompactionSettings(segment_bytes=0)
SPEC = IndexSpec("none", 16, 100)


class _Compaction:
    """A `Compaction` of a collection that gets rows all the time, and builds take time.

    Args:
        rate: How many rows are written in a second.
        built: How many rows of a segment are indexed in a second; of a provisional one, three times
            as many.
    """

    def __init__(self, rate: float, built: float) -> None:
        self.now = 0.0
        self.rate = rate
        self.built = built
        self.rows: list[SegmentRow] = []
        self.collection = TrackedCollection(
            TABLES,
            "papers",
            CollectionConfiguration.parse({"hnsw": {"sync_threshold": 100}}, None),
            4,
            "t",
            None,
            0,
            False,
            False,
        )

    @property
    def written(self) -> int:
        return int(self.now * self.rate)

    def inspect(self) -> Inspection:
        end = self.rows[-1].end_pos if self.rows else 1
        ready = frozenset(row.index_name for row in self.rows)
        tail = self.written + 1 - end
        return Inspection(tuple(self.rows), ready, tail=tail, end_pos=self.written + 1)

    def peek(self, _: TrackedCollection) -> int:
        return self.inspect().tail

    def count_sparse_changes(self, _: TrackedCollection) -> int:
        return 0

    def index_tail(self, collection: TrackedCollection, *, is_growing: bool = False) -> bool:
        found = self.inspect()
        if not planner.needs_provisional(collection, found, SETTINGS, is_growing=is_growing):
            return False
        return self._build(found, is_idle=False, is_bursting=True)

    def compact(self, _: TrackedCollection, *, is_idle: bool, is_bursting: bool, keys: Any) -> bool:
        end = self.written
        while True:
            found = self.inspect()
            if found.tail_start > end:
                found = replace(found, tail=0)
            if not self._build(found, is_idle=is_idle, is_bursting=is_bursting) or is_bursting:
                return True

    def _build(self, found: Inspection, *, is_idle: bool, is_bursting: bool) -> bool:
        build = planner.choose_build(
            self.collection,
            found,
            SETTINGS,
            is_idle=is_idle,
            merges_all=False,
            is_bursting=is_bursting,
        )
        if build is not None:
            self._add(build)
        return build is not None

    def _add(self, build: Build) -> None:
        rows = min(build.rows, build.limit or build.rows)
        end = build.first_pos + rows
        spec = self.collection.provisional_spec if build.is_provisional else SPEC
        self.now += rows / self.built / (3 if build.is_provisional else 1)
        kept = [row for row in self.rows if row.end_pos <= build.first_pos or row.first_pos >= end]
        added = SegmentRow(
            len(kept), build.first_pos, end, f"i{end}", rows, is_ready=True, spec=spec, live=rows
        )
        self.rows = sorted([*kept, added], key=lambda row: row.first_pos)


@pytest.mark.parametrize(("rate", "built"), [(5, 27), (11, 27), (18, 55)])
def test_segments_stay_few_although_writers_never_pause(
    monkeypatch: pytest.MonkeyPatch, rate: float, built: float
) -> None:
    compaction: Any = _Compaction(rate, built)
    clock = SimpleNamespace(monotonic=lambda: compaction.now)
    monkeypatch.setattr(compactor_thread, "time", clock)
    compactor = Compactor("", SETTINGS)
    state = _CollectionState(0.0, keys=set(), passed_at=0.0)
    while compaction.now < 2 * 3_600:
        state.changed_at, state.keys = compaction.now, set()
        assert not compactor._process(compaction, [compaction.collection], state)
        if not state.has_burst:
            compaction.now += POLL_SECONDS
    assert len(compaction.rows) <= 4 * math.log2(compaction.written / 100)
