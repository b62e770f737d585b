"""The compactor's decisions, without a database."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.compactor import planner
from pgchroma.compactor.bookkeeping import reconcile
from pgchroma.compactor.planner import choose_build, choose_secondary, choose_sparse
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import (
    MAX_BLOCK_BYTES,
    BlockState,
    Build,
    IndexSpec,
    Inspection,
    SegmentRow,
    SparseState,
    SparseStep,
    TrackedCollection,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.filterable import FilterableKeys
from pgchroma.store.layout.secondary import SecondaryIndex, secondary_name
from pgchroma.store.layout.segments import build_memory_per_row
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement

TABLES = CollectionTables("s", uuid.UUID(int=1))
PLENTY = 1 << 40


def _collection(dimension: int | None = 4, **hnsw: Any) -> TrackedCollection:
    configuration = CollectionConfiguration.parse({"hnsw": {"sync_threshold": 100, **hnsw}}, None)
    return TrackedCollection(TABLES, "papers", configuration, dimension, "t", None, 0, False, False)


COLLECTION = _collection()
SPEC = IndexSpec("none", 16, 100)


def _row(id: int, first: int, end: int, *, rows: int | None = None, **more: Any) -> SegmentRow:
    entries = end - first if rows is None else rows
    values: dict[str, Any] = {"is_ready": True, "spec": SPEC, "live": entries, **more}
    return SegmentRow(id, first, end, f"i{id}", entries, **values)


def _inspected(*rows: SegmentRow, tail: int = 0, **more: Any) -> Inspection:
    names = frozenset(row.index_name for row in rows)
    end = max((row.end_pos for row in rows if row.is_ready), default=1) + tail
    return Inspection(rows, names, tail=tail, end_pos=end, **more)


def _choose(collection: TrackedCollection, inspection: Inspection, **more: Any) -> Build | None:
    settings = CompactionSettings(more.pop("segment_bytes", 0), more.pop("memory", PLENTY))
    return choose_build(
        collection, inspection, settings, **{"is_idle": True, "merges_all": False, **more}
    )


def test_a_tail_is_due_by_its_rows_and_by_its_bytes() -> None:
    assert _choose(COLLECTION, _inspected(tail=99)) is None
    assert _choose(COLLECTION, _inspected(tail=100)) == Build(1, 101, 100)
    assert _choose(COLLECTION, _inspected(tail=100), segment_bytes=1601) is None
    assert _choose(COLLECTION, _inspected(tail=100), segment_bytes=1600) == Build(1, 101, 100)
    assert _choose(_collection(None), _inspected(tail=100)) is None


def test_a_short_tail_is_taken_along_at_the_end_and_not_before() -> None:
    inspection = _inspected(_row(1, 1, 1001), tail=99)
    assert _choose(COLLECTION, inspection) is None
    assert _choose(_collection(batch_size=99), inspection, merges_all=True) == Build(1, 1100, 1099)
    assert _choose(COLLECTION, _inspected(tail=99), merges_all=True) is None, "too few for an index"


def test_segments_merge_with_what_is_not_much_shorter() -> None:
    long, short = _row(1, 1, 1001), _row(2, 1001, 1101)
    assert _choose(COLLECTION, _inspected(long, tail=100)) == Build(1001, 1101, 100)
    assert _choose(COLLECTION, _inspected(short, tail=100)) == Build(1001, 1201, 200)
    nine, tenth = _row(1, 1, 901), _row(2, 901, 1001)
    assert _choose(COLLECTION, _inspected(nine, tenth, tail=349)) == Build(901, 1350, 449)
    assert _choose(COLLECTION, _inspected(nine, tenth, tail=350)) == Build(1, 1351, 1350)
    # More is merged when idle; during writes only the tail is indexed.
    assert _choose(COLLECTION, _inspected(_row(1, 1, 801), short)) == Build(1, 1101, 900)
    assert _choose(COLLECTION, _inspected(_row(1, 1, 801), short), is_idle=False) is None
    assert _choose(COLLECTION, _inspected(long, short)) is None
    assert _choose(COLLECTION, _inspected(long, short), merges_all=True) == Build(1, 1101, 1100)


def test_a_segment_mostly_dead_or_of_another_form_is_rebuilt() -> None:
    alive, dying = _row(1, 1, 1001, live=800), _row(1, 1, 1001, live=799)
    assert _choose(COLLECTION, _inspected(alive)) is None
    assert _choose(COLLECTION, _inspected(dying)) == Build(1, 1001, 799)
    assert _choose(COLLECTION, _inspected(dying), is_idle=False) is None
    fine = _row(1, 1, 1001)
    for changed in ({"max_neighbors": 8}, {"quantization": "halfvec"}, {"ef_construction": 50}):
        assert _choose(_collection(**changed), _inspected(fine)) == Build(1, 1001, 1000)
    for unchanged in ({"ef_search": 8}, {"num_threads": 3}, {"batch_size": 5}):
        assert _choose(_collection(**unchanged), _inspected(fine)) is None
    empty = _row(2, 1001, 1101, live=0)
    assert _choose(COLLECTION, _inspected(fine, empty)) == Build(1001, 1101, 0)


def test_an_index_of_whole_embeddings_stays_unless_a_shorter_form_is_required() -> None:
    whole, halves = _row(1, 1, 1001), _row(1, 1, 1001, spec=IndexSpec("halfvec", 16, 100))
    other = _row(1, 1, 1001, spec=IndexSpec("none", 8, 100))
    rebuilt = Build(1, 1001, 1000)
    cases: tuple[tuple[dict[str, Any], tuple[bool, bool, bool]], ...] = (
        ({"space": "cosine"}, (True, True, False)),
        ({"space": "cosine", "quantization": "halfvec"}, (False, True, False)),
        ({"space": "cosine", "quantization": "none"}, (True, False, False)),
        ({"space": "l2"}, (True, False, False)),
    )
    for settings, kept in cases:
        collection = _collection(**settings)
        for segment, is_kept in zip((whole, halves, other), kept, strict=True):
            assert collection.accepts(segment.spec) == is_kept
            assert _choose(collection, _inspected(segment)) == (None if is_kept else rebuilt)


def test_a_range_whose_index_was_dropped_gets_another() -> None:
    before, behind = _row(1, 1, 1001), _row(2, 1201, 2000)
    gap = Build(1001, 1201, 200)
    assert _choose(COLLECTION, _inspected(before, behind, gaps=(gap,))) == gap
    near = _row(1, 601, 1001)
    assert _choose(COLLECTION, _inspected(near, behind, gaps=(gap,))) == Build(601, 1201, 600)


def test_no_more_is_merged_than_fits_into_memory() -> None:
    memory = 1000 * build_memory_per_row(4, "none", 16)
    halves = (_row(1, 1, 601), _row(2, 601, 1201))
    assert _choose(COLLECTION, _inspected(*halves), memory=memory, merges_all=True) is None
    assert _choose(COLLECTION, _inspected(*halves), memory=2 * memory) == Build(1, 1201, 1200)
    # A tail that is too long is cut when it is built.
    assert _choose(COLLECTION, _inspected(tail=5000), memory=memory) == Build(1, 5001, 5000)


def test_a_long_tail_is_indexed_in_parts_first() -> None:
    assert _choose(COLLECTION, _inspected(tail=400), is_idle=False) == Build(1, 401, 400)
    part = _choose(COLLECTION, _inspected(tail=400), is_idle=False, is_bursting=True)
    assert part == Build(1, 401, 400, limit=200)
    assert part.is_provisional
    # The minimum of a tail is larger here: 20 embeddings of 16 bytes.
    sizes: Any = {"segment_bytes": 320, "is_idle": False, "is_bursting": True}
    short = _collection(sync_threshold=2)
    assert _choose(short, _inspected(tail=19), **sizes) is None
    assert _choose(short, _inspected(tail=80), **sizes) == Build(1, 81, 80, limit=40)
    # When the collection is idle, there is one build.
    assert _choose(COLLECTION, _inspected(tail=9000)) == Build(1, 9001, 9000)
    assert _choose(COLLECTION, _inspected(tail=9000), merges_all=True) == Build(1, 9001, 9000)


def test_provisional_segments_are_merged_when_the_collection_is_idle() -> None:
    quick = COLLECTION.provisional_spec
    assert quick == IndexSpec("none", 8, 40)
    long = _row(1, 1, 2001)
    parts = (_row(2, 2001, 2201, spec=quick), _row(3, 2201, 2401, spec=quick))
    inspection = _inspected(long, *parts, tail=99)
    assert _choose(COLLECTION, inspection, is_idle=False) is None
    assert _choose(COLLECTION, inspection) == Build(2001, 2401, 400)
    # During the burst the rest of the tail becomes another part, afterwards it joins the others.
    longer = _inspected(long, *parts, tail=100)
    bursting = _choose(COLLECTION, longer, is_idle=False, is_bursting=True)
    assert bursting == Build(2401, 2501, 100, limit=200)
    assert _choose(COLLECTION, longer, is_idle=False) == Build(2001, 2501, 500)
    assert _choose(COLLECTION, longer) == Build(2001, 2501, 500)
    # So it does if it is much shorter than a part.
    large = _row(3, 2201, 4201, spec=quick)
    assert _choose(COLLECTION, _inspected(long, parts[0], large, tail=100)) == Build(1, 4301, 4300)
    # Parts that need more memory than there is are merged as far as possible.
    memory = 399 * build_memory_per_row(4, "none", 16)
    assert _choose(COLLECTION, inspection, memory=memory) == Build(2001, 2201, 200)


def test_settings_that_build_fast_are_kept_in_provisional_segments() -> None:
    small = _collection(max_neighbors=4, ef_construction=8)
    assert small.provisional_spec == IndexSpec("none", 4, 7)
    assert small.provisional_spec != small.index_spec


@pytest.mark.parametrize("rows", [100_000, 1_000_000])
def test_a_long_burst_leaves_few_provisional_segments(rows: int) -> None:
    log = _Log()
    log.write(rows)
    provisional = 0
    while log.tail >= 100:
        inspection = _inspected(*log.rows, tail=log.tail)
        build = _choose(COLLECTION, inspection, is_idle=False, is_bursting=True)
        assert build is not None and build.is_provisional
        log.build(build)
        provisional += 1
    assert len(log.rows) == provisional <= 9 * math.log(rows / 100)
    log.settle(is_idle=True)
    log.check()
    assert [row.rows for row in log.rows] == [rows]
    assert set(log.indexed) == {2}


def test_a_burst_that_is_indexed_while_it_lasts_leaves_few_provisional_segments() -> None:
    log, settings = _Log(), CompactionSettings(segment_bytes=0, memory=PLENTY)
    for _ in range(1_000):
        # More come while each part is built.
        log.write(120)
        inspection = _inspected(*log.rows, tail=log.tail)
        if planner.needs_provisional(COLLECTION, inspection, settings, is_growing=True):
            build = _choose(COLLECTION, inspection, is_idle=False, is_bursting=True)
            assert build is not None
            log.build(build)
    assert len(log.rows) <= 9 * math.log(120_000 / 100)
    assert log.tail <= 120_000 / 8


def test_after_a_burst_segments_stay_few_beside_slow_writers() -> None:
    log = _Log()
    log.write(5_000)
    while log.tail >= 100:
        inspection = _inspected(*log.rows, tail=log.tail)
        build = _choose(COLLECTION, inspection, is_idle=False, is_bursting=True)
        assert build is not None
        log.build(build)
    for _ in range(500):
        log.write(100)
        log.settle(is_idle=False)
        log.check()
    assert len(log.rows) < 15
    assert not any(row.spec == COLLECTION.provisional_spec for row in log.rows)


class _Log:
    """The positions and segments of a collection, without a collection."""

    def __init__(self, memory: int = PLENTY) -> None:
        self.rows: list[SegmentRow] = []
        self.tail = 0
        self.built = 0
        self.indexed: list[int] = []
        self.memory = memory
        self.most = memory // build_memory_per_row(4, "none", 16)

    def write(self, count: int) -> None:
        self.tail += count
        self.indexed += [0] * count

    def settle(self, *, is_idle: bool, merges_all: bool = False) -> None:
        for _ in range(1000):
            inspection = _inspected(*self.rows, tail=self.tail)
            build = _choose(
                COLLECTION, inspection, memory=self.memory, is_idle=is_idle, merges_all=merges_all
            )
            if build is None:
                return
            self.build(build)
        raise AssertionError("it never ends")

    def build(self, build: Build) -> None:
        most = min(self.most, build.limit or build.rows)
        if build.rows > most:
            build = replace(build, end_pos=build.first_pos + most, rows=most)
        spec = COLLECTION.provisional_spec if build.is_provisional else SPEC
        self.built += 1
        for position in range(build.first_pos - 1, build.end_pos - 1):
            self.indexed[position] += 1
        end = len(self.indexed) + 1
        self.rows = sorted(
            [
                *(
                    row
                    for row in self.rows
                    if row.end_pos <= build.first_pos or row.first_pos >= build.end_pos
                ),
                _row(self.built, build.first_pos, build.end_pos, spec=spec),
            ],
            key=lambda row: row.first_pos,
        )
        self.tail = end - self.rows[-1].end_pos

    def check(self) -> None:
        ends = [1, *(row.end_pos for row in self.rows)]
        assert [row.first_pos for row in self.rows] == ends[:-1], "no gaps and no overlaps"
        assert len(self.indexed) + 1 - ends[-1] == self.tail < 100


BATCHES = st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=150)
"""Batches that leave no tail long enough to be indexed in parts first."""


@given(BATCHES)
def test_a_growing_log_is_indexed_a_few_times_and_in_few_segments(
    batches: list[tuple[int, bool]],
) -> None:
    log = _Log()
    for count, is_idle in batches:
        log.write(count)
        log.settle(is_idle=is_idle)
        log.check()
        doublings = math.log2(max(len(log.indexed) / 100, 1)) + 1
        assert len(log.rows) <= doublings + 1
    # When idle, an eighth more is enough to rebuild everything.
    assert max(log.indexed) <= 8 * (math.log(max(len(log.indexed) / 100, 1), 9 / 8) / 4 + 4)
    log.settle(is_idle=True, merges_all=True)
    assert len(log.rows) <= 1


def test_a_log_that_grows_without_a_rest_is_indexed_logarithmically() -> None:
    log = _Log()
    for _ in range(1000):
        log.write(100)
        log.settle(is_idle=False)
    log.check()
    assert max(log.indexed) <= 3 * math.log2(1000)
    assert sum(log.indexed) / len(log.indexed) <= 2 * math.log2(1000)


def test_segments_before_the_last_are_merged_too() -> None:
    log = _Log(301 * build_memory_per_row(4, "none", 16))
    for count in (201, 100, 250):
        log.write(count)
        log.settle(is_idle=False)
    log.settle(is_idle=True, merges_all=True)
    assert [row.rows for row in log.rows] == [301, 250]


@given(BATCHES, st.integers(150, 2000))
def test_bounded_memory_gives_several_segments_and_an_end(
    batches: list[tuple[int, bool]], most: int
) -> None:
    log = _Log(most * build_memory_per_row(4, "none", 16))
    for count, is_idle in batches:
        log.write(count)
        log.settle(is_idle=is_idle)
        log.check()
    log.settle(is_idle=True, merges_all=True)
    assert all(row.rows <= most for row in log.rows)
    for one, other in zip(log.rows, log.rows[1:], strict=False):
        assert one.rows + other.rows > most


def test_secondary_indexes_are_for_large_collections_that_want_them() -> None:
    number, trigrams = SecondaryIndex("number", "year"), SecondaryIndex("trigrams")

    def choose(collection: TrackedCollection = COLLECTION, **more: Any) -> SecondaryIndex | None:
        settings = CompactionSettings(is_automatic=more.pop("is_automatic", True))
        has_trigrams = more.pop("has_trigrams", True)
        inspection = replace(large, **more)
        return choose_secondary(collection, inspection, settings, has_trigrams=has_trigrams)

    large = Inspection(records=planner.MIN_INDEXED, demand={number: 10, trigrams: 10})
    assert choose() == number
    assert choose(secondary={number: True}) == trigrams
    assert choose(secondary={number: False}) == number
    assert choose(secondary={number: True}, has_trigrams=False) is None
    assert choose(demand={number: 9}) is None
    assert choose(is_automatic=False) is None
    assert choose(records=planner.MIN_INDEXED - 1) is None
    keys: Any = {"year": {"int": True}, "title": {"string": True}}
    declared = replace(
        COLLECTION,
        configuration=replace(COLLECTION.configuration, filterable=FilterableKeys(keys=keys)),
    )
    assert choose(declared, is_automatic=False) == SecondaryIndex("value", "title")


def _reconciled(inspection: Inspection) -> tuple[bool, list[str], list[str]]:
    exchange, sent = reconcile(COLLECTION, inspection), []
    try:
        step = next(exchange)
        while True:
            assert isinstance(step, Statement)
            sent.append(step.text.split()[0].decode())
            step = exchange.send([(7,)])
    except StopIteration as done:
        return (*done.value, sent)


def test_nothing_is_changed_where_catalog_and_indexes_agree() -> None:
    inspection = _inspected(_row(1, 1, 11), _row(2, 11, 21))
    # The statement deletes the segments of dropped embeddings; here it finds no rows.
    assert _reconciled(inspection) == (False, [], ["delete"])


@pytest.mark.parametrize(
    ("rows", "valid", "invalid", "is_changed", "leftovers"),
    [
        # Killed before, while and after it was built.
        ([_row(1, 1, 11, is_ready=False)], [], [], True, []),
        ([_row(1, 1, 11, is_ready=False)], [], ["i1"], True, ["i1"]),
        ([_row(1, 1, 11, is_ready=False)], ["i1"], [], True, []),
        # Killed before, while and after it dropped the replaced indexes.
        ([_row(1, 1, 11, is_ready=False), _row(2, 1, 21)], ["i1", "i2"], [], False, ["i1"]),
        ([_row(1, 1, 11, is_ready=False), _row(2, 1, 21)], ["i2"], ["i1"], True, ["i1"]),
        ([_row(1, 1, 11, is_ready=False), _row(2, 1, 21)], ["i2"], [], True, []),
        # Another session dropped an index, or created one that is not in the catalog.
        ([_row(1, 1, 11)], [], [], True, []),
        ([], ["i9"], ["i8"], False, ["i8", "i9"]),
    ],
)
def test_rests_are_adopted_forgotten_or_dropped(
    rows: list[SegmentRow],
    valid: Iterable[str],
    invalid: Iterable[str],
    is_changed: bool,
    leftovers: list[str],
) -> None:
    inspection = Inspection(tuple(rows), frozenset(valid), frozenset(invalid))
    assert _reconciled(inspection)[:2] == (is_changed, leftovers)


def test_a_secondary_index_is_known_for_what_it_is() -> None:
    index = SecondaryIndex("number", "year")
    name = secondary_name(TABLES, index)
    built = Inspection(valid=frozenset([name]), secondary={index: False})
    gone = Inspection(secondary={index: True})
    assert _reconciled(built)[:2] == (True, [])
    assert _reconciled(gone)[:2] == (True, [])
    assert _reconciled(replace(built, secondary={index: True}))[:2] == (False, [])
    broken = Inspection(invalid=frozenset([name]), secondary={index: False})
    assert _reconciled(broken)[:2] == (False, [name])


def _sparse(*blocks: tuple[int, int], added: int = 0, removed: int = 0) -> SparseState:
    """A state with blocks, each given by its vectors and how many of them were removed."""
    made = [BlockState(n, vectors, gone, 100 * vectors) for n, (vectors, gone) in enumerate(blocks)]
    return SparseState(added, removed, tuple(made))


FULL = (8_192, 0)


@pytest.mark.parametrize(
    ("state", "busy", "idle", "all_of_it"),
    [
        (_sparse(), None, None, None),
        (_sparse(added=1), None, None, "build"),
        (_sparse(added=249), None, None, "build"),
        (_sparse(added=600), None, "build", "build"),
        (_sparse(added=1_000), "build", "build", "build"),
        (_sparse(FULL, removed=1), None, "remove", "remove"),
        (_sparse(FULL, removed=200, added=9_000), "remove", "remove", "remove"),
        # Finding removed vectors reads all blocks.
        (_sparse(*[FULL] * 100, removed=800), None, "remove", "remove"),
        (_sparse(FULL, (3_000, 0)), None, None, None),
        (_sparse((3_000, 0), (3_000, 0)), None, None, (0, 1)),
        (_sparse((3_000, 0), FULL, (900, 0), (900, 0), (4_000, 0)), *[(2, 3, 0, 4)] * 3),
        (_sparse((8_192, 1_600)), None, None, None),
        (_sparse((8_192, 1_700)), *[(0,)] * 3),
        (_sparse((8_192, 8_192), (100, 0)), *[(0, 1)] * 3),
    ],
)  # fmt: skip
def test_sparse_vectors_become_blocks(
    state: SparseState, busy: Any, idle: Any, all_of_it: Any
) -> None:
    for expected, is_idle, merges_all in (
        (busy, False, False),
        (idle, True, False),
        (all_of_it, False, True),
    ):
        step = choose_sparse(state, is_idle=is_idle, merges_all=merges_all)
        assert step == _step(expected)


def _step(expected: Any) -> SparseStep | None:
    if isinstance(expected, tuple):
        return SparseStep("merge", expected)
    return None if expected is None else SparseStep(expected)


def test_a_pass_ends_although_others_write() -> None:
    state = _sparse(FULL, added=700, removed=50)
    assert choose_sparse(state, is_idle=True, merges_all=False, completed={"remove"}) == SparseStep(
        "build"
    )
    completed: Any = {"remove", "build"}
    assert choose_sparse(state, is_idle=True, merges_all=True, completed=completed) is None


def test_blocks_of_long_vectors_are_full_with_few() -> None:
    blocks = [BlockState(n, 500, 0, MAX_BLOCK_BYTES - 1) for n in range(10)]
    state = SparseState(0, 0, tuple(blocks))
    assert choose_sparse(state, is_idle=True, merges_all=True) is None
