"""Blocks of sparse vectors: building, removing from, and merging them.

Each step is one transaction of the tenant's role. The lock of the collection keeps other compactors
away. Steps delete changes, and rows of vectors that belong to no record any more; writers change
neither. So no writer waits for a step. See `pgchroma.store.layout.sparse`.

Of documents, the step that builds a block also makes the vectors, from the words in the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pgchroma.compactor import planner
from pgchroma.compactor import sparse_statements as statements
from pgchroma.compactor.sparse_statements import VectorIndex, render_for
from pgchroma.compactor.state import (
    MAX_BLOCK_BYTES,
    BlockState,
    SparseAction,
    SparseState,
    SparseStep,
    TrackedCollection,
)
from pgchroma.compactor.steps import AsRole, PassSteps
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.sparse import (
    BLOCK_SLOTS,
    MAX_VALUES,
    unpack_sparse,
)
from pgchroma.store.encoding.sparse_blocks import (
    count_terms,
    mask_slots,
    transpose,
)
from pgchroma.store.encoding.words import count_words, encode_words
from pgchroma.store.running.steps import Statement, Steps, Transaction

__all__ = ("compact_sparse", "count_changes")

MAX_REMOVED: Final = 1_000
"""Vectors removed from blocks in one transaction, which reads them. The longest have 640 kB."""


def compact_sparse(
    collection: TrackedCollection, *, is_idle: bool, merges_all: bool = False
) -> PassSteps[None]:
    """Do everything there is to do for the sparse vectors of a locked collection.

    Args:
        collection: The collection.
        is_idle: Whether the collection seems to have no writers.
        merges_all: Whether to put all vectors into as few blocks as possible.
    """
    for index in _indexes_of(collection):
        if merges_all:
            yield AsRole(collection.role, Statement(render_for(statements.NOTE_ORPHANS, index)))
        completed: set[SparseAction] = set()
        has_changed = False
        while True:
            state = yield AsRole(collection.role, Transaction(_inspect(index)))
            step = planner.choose_sparse(
                state, is_idle=is_idle, merges_all=merges_all, completed=completed
            )
            if step is None:
                break
            count, batch = (
                (state.removed, MAX_REMOVED)
                if step.action == "remove"
                else (state.added, BLOCK_SLOTS)
            )
            if count <= batch:
                completed.add(step.action)
            taken = _take_step(index, step)
            yield AsRole(collection.role, Transaction(taken))
            # Every search reads all changes, and the pages of those that were deleted.
            yield Statement(render_for(statements.VACUUM, index))
            has_changed = True
        if has_changed:
            for template in statements.ANALYZE:
                yield Statement(render_for(template, index))


def count_changes(collection: TrackedCollection) -> Steps[int]:
    """Return how many changes of sparse vectors wait, counting up to a bound.

    This is cheap enough for polling.
    """
    total = 0
    for index in _indexes_of(collection):
        text = render_for(statements.COUNT, index)
        rows = yield Statement(text, {"limit": planner.MIN_BLOCK})
        total += rows[0][0]
    return total


def _indexes_of(collection: TrackedCollection) -> list[VectorIndex]:
    if collection.tables.is_shadow:
        return []
    filterable = collection.configuration.filterable
    numbers = filterable.sparse_numbers().values()
    found = [VectorIndex(collection.tables.sparse(number)) for number in numbers]
    if (text := filterable.text) is not None:
        tables = collection.tables.sparse(text.number)
        found.append(VectorIndex(tables, text.average_length))
    return found


def _inspect(index: VectorIndex) -> Steps[SparseState]:
    """Count the changes, and read the sizes of the blocks."""
    ((added, removed),) = yield Statement(render_for(statements.CHANGES, index))
    blocks = yield Statement(render_for(statements.BLOCKS, index))
    return SparseState(added, removed, tuple(BlockState(*row) for row in blocks))


def _take_step(index: VectorIndex, step: SparseStep) -> Steps[None]:
    match step.action:
        case "build":
            yield from _build(index)
        case "remove":
            yield from _remove(index)
        case "merge":
            yield from _merge(index, step.blocks)


def _build(index: VectorIndex) -> Steps[int]:
    """Make a block of added vectors, the oldest first; return how many there were."""
    yield Statement(render_for(statements.DELETE_PAIRS, index))
    if index.average_length is not None:
        yield from _make_vectors(index, index.average_length)
    sizes = {"slots": BLOCK_SLOTS, "bytes": MAX_BLOCK_BYTES}
    rows = yield Statement(render_for(statements.TAKE, index), sizes)
    if not rows:
        return 0
    weights = transpose([row[1:] for row in rows], (yield from _sparsevec_oid()))
    parameters = {
        "size": sum(len(part) for row in rows for part in row[1:] if part is not None),
        "positions": pack_numbers([row[0] for row in rows], "bigint"),
        "rows": weights.rows,
        "terms": weights.terms,
        "counts": weights.vectors,
        "greatest": weights.greatest,
        "weights": weights.weights,
    }
    yield Statement(render_for(statements.INSERT_BLOCK, index), parameters)
    return len(rows)


def _make_vectors(index: VectorIndex, average_length: int) -> Steps[None]:
    """Make the vectors of added documents that have none; forget those without a record.

    A document of too many words for a vector is set aside. Searches continue to read its words.
    """
    sizes = {"slots": BLOCK_SLOTS, "bytes": MAX_BLOCK_BYTES}
    rows = yield Statement(render_for(statements.READ_WORDS, index), sizes)
    too_long = {pos for pos, _, words in rows if count_words(words) > MAX_VALUES}
    if too_long:
        set_aside = pack_numbers(list(too_long), "bigint")
        yield Statement(render_for(statements.SET_ASIDE, index), {"positions": set_aside})
    rows = [row for row in rows if row[0] not in too_long]
    if not rows:
        return
    positions, seqs, words = zip(*rows, strict=True)
    vectors = encode_words(words, average_length, (yield from _sparsevec_oid()))
    yield Statement(
        render_for(statements.INSERT_VECTORS, index),
        {
            "positions": pack_numbers(positions, "bigint"),
            "seqs": pack_numbers(seqs, "bigint"),
            "vectors": vectors,
        },
    )


def _remove(index: VectorIndex) -> Steps[None]:
    """Mask removed vectors in their blocks, and count their terms."""
    yield Statement(render_for(statements.DELETE_PAIRS, index))
    rows = yield Statement(render_for(statements.DELETE_REMOVED, index), {"limit": MAX_REMOVED})
    parts = {row[0]: row[1:] for row in rows}
    positions = pack_numbers(sorted(parts), "bigint")
    places = yield Statement(render_for(statements.FIND, index), {"positions": positions})
    if not places:
        return
    counts = count_terms([parts[pos] for pos, _, _ in places], [block for _, block, _ in places])
    yield Statement(
        render_for(statements.COUNT_REMOVED, index),
        {
            "blocks": pack_numbers(counts.blocks, "int"),
            "terms": pack_numbers(counts.terms, "bigint"),
            "vectors": pack_numbers(counts.vectors, "int"),
        },
    )
    slots: dict[int, set[int]] = {}
    for _, block, slot in places:
        slots.setdefault(block, set()).add(slot)
    blocks = pack_numbers(list(slots), "int")
    masks = yield Statement(render_for(statements.MASKS, index), {"blocks": blocks})
    for block, mask in masks:
        slots[block].update((unpack_sparse([mask]).dimensions + 1).tolist())
    oid = yield from _sparsevec_oid()
    yield Statement(
        render_for(statements.SET_MASKS, index),
        {
            "blocks": blocks,
            "masks": mask_slots([sorted(each) for each in slots.values()], oid),
            "removed": pack_numbers([len(each) for each in slots.values()], "int"),
        },
    )


def _merge(index: VectorIndex, blocks: Sequence[int]) -> Steps[None]:
    """Put the vectors of some blocks, and what else fits into the last one, into new blocks."""
    numbers = pack_numbers(blocks, "int")
    ((left,),) = yield Statement(render_for(statements.DISSOLVE, index), {"blocks": numbers})
    while left > 0:
        built = yield from _build(index)
        # Some may have been removed.
        left = left - built if built else 0


def _sparsevec_oid() -> Steps[int]:
    rows = yield Statement(statements.SPARSEVEC_OID)
    return int(rows[0][0])
