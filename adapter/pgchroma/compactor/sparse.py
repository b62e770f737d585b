"""Blocks of sparse vectors: building, removing from, and merging them.

Each step is one transaction of the tenant's role. The lock of the collection keeps other compactors
away. Steps delete changes, and rows of vectors that belong to no record any more; writers change
neither. So no writer waits for a step. See `pgchroma.store.layout.sparse`.

Of documents, the step that builds a block also makes the vectors, from the words in the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.compactor import planner
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
    PART_DIMENSION,
    SPARSE_PARTS,
    unpack_sparse,
)
from pgchroma.store.encoding.sparse_blocks import (
    count_terms,
    mask_slots,
    transpose,
)
from pgchroma.store.encoding.words import count_words, encode_words
from pgchroma.store.layout.sparse import CHUNK_SLOTS, SparseTables
from pgchroma.store.layout.words import TERM
from pgchroma.store.running.sessions import TYPE_OIDS
from pgchroma.store.running.steps import Statement, Steps, Transaction, render

__all__ = ("compact_sparse", "count_changes")

MAX_REMOVED: Final = 1_000
"""Vectors removed from blocks in one transaction, which reads them. The longest have 640 kB."""


@dataclass(frozen=True, slots=True)
class _VectorIndex:
    """The tables of the sparse vectors under a key, or of documents.

    Attributes:
        average_length: The number of words of an average document; `None` for a key.
    """

    tables: SparseTables
    average_length: int | None = None


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
            yield AsRole(collection.role, Statement(_render(_NOTE_ORPHANS, index)))
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
            yield Statement(_render(_VACUUM, index))
            has_changed = True
        if has_changed:
            for template in _ANALYZE:
                yield Statement(_render(template, index))


def count_changes(collection: TrackedCollection) -> Steps[int]:
    """Return how many changes of sparse vectors wait, counting up to a bound.

    This is cheap enough for polling.
    """
    total = 0
    for index in _indexes_of(collection):
        text = _render(_COUNT, index)
        rows = yield Statement(text, {"limit": planner.MIN_BLOCK})
        total += rows[0][0]
    return total


def _indexes_of(collection: TrackedCollection) -> list[_VectorIndex]:
    if collection.tables.is_shadow:
        return []
    filterable = collection.configuration.filterable
    numbers = filterable.sparse_numbers().values()
    found = [_VectorIndex(collection.tables.sparse(number)) for number in numbers]
    if (text := filterable.text) is not None:
        tables = collection.tables.sparse(text.number)
        found.append(_VectorIndex(tables, text.average_length))
    return found


def _inspect(index: _VectorIndex) -> Steps[SparseState]:
    """Count the changes, and read the sizes of the blocks."""
    ((added, removed),) = yield Statement(_render(_CHANGES, index))
    blocks = yield Statement(_render(_BLOCKS, index))
    return SparseState(added, removed, tuple(BlockState(*row) for row in blocks))


def _take_step(index: _VectorIndex, step: SparseStep) -> Steps[None]:
    match step.action:
        case "build":
            yield from _build(index)
        case "remove":
            yield from _remove(index)
        case "merge":
            yield from _merge(index, step.blocks)


def _build(index: _VectorIndex) -> Steps[int]:
    """Make a block of added vectors, the oldest first; return how many there were."""
    yield Statement(_render(_DELETE_PAIRS, index))
    if index.average_length is not None:
        yield from _make_vectors(index, index.average_length)
    sizes = {"slots": BLOCK_SLOTS, "bytes": MAX_BLOCK_BYTES}
    rows = yield Statement(_render(_TAKE, index), sizes)
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
    yield Statement(_render(_INSERT_BLOCK, index), parameters)
    return len(rows)


def _make_vectors(index: _VectorIndex, average_length: int) -> Steps[None]:
    """Make the vectors of added documents that have none; forget those without a record.

    A document of too many words for a vector is set aside. Searches continue to read its words.
    """
    sizes = {"slots": BLOCK_SLOTS, "bytes": MAX_BLOCK_BYTES}
    rows = yield Statement(_render(_READ_WORDS, index), sizes)
    too_long = {pos for pos, _, words in rows if count_words(words) > MAX_VALUES}
    if too_long:
        set_aside = pack_numbers(list(too_long), "bigint")
        yield Statement(_render(_SET_ASIDE, index), {"positions": set_aside})
    rows = [row for row in rows if row[0] not in too_long]
    if not rows:
        return
    positions, seqs, words = zip(*rows, strict=True)
    vectors = encode_words(words, average_length, (yield from _sparsevec_oid()))
    yield Statement(
        _render(_INSERT_VECTORS, index),
        {
            "positions": pack_numbers(positions, "bigint"),
            "seqs": pack_numbers(seqs, "bigint"),
            "vectors": vectors,
        },
    )


def _remove(index: _VectorIndex) -> Steps[None]:
    """Mask removed vectors in their blocks, and count their terms."""
    yield Statement(_render(_DELETE_PAIRS, index))
    rows = yield Statement(_render(_DELETE_REMOVED, index), {"limit": MAX_REMOVED})
    parts = {row[0]: row[1:] for row in rows}
    positions = pack_numbers(sorted(parts), "bigint")
    places = yield Statement(_render(_FIND, index), {"positions": positions})
    if not places:
        return
    counts = count_terms([parts[pos] for pos, _, _ in places], [block for _, block, _ in places])
    yield Statement(
        _render(_COUNT_REMOVED, index),
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
    masks = yield Statement(_render(_MASKS, index), {"blocks": blocks})
    for block, mask in masks:
        slots[block].update((unpack_sparse([mask]).dimensions + 1).tolist())
    oid = yield from _sparsevec_oid()
    yield Statement(
        _render(_SET_MASKS, index),
        {
            "blocks": blocks,
            "masks": mask_slots([sorted(each) for each in slots.values()], oid),
            "removed": pack_numbers([len(each) for each in slots.values()], "int"),
        },
    )


def _merge(index: _VectorIndex, blocks: Sequence[int]) -> Steps[None]:
    """Put the vectors of some blocks, and what else fits into the last one, into new blocks."""
    numbers = pack_numbers(blocks, "int")
    ((left,),) = yield Statement(_render(_DISSOLVE, index), {"blocks": numbers})
    while left > 0:
        built = yield from _build(index)
        # Some may have been removed.
        left = left - built if built else 0


def _sparsevec_oid() -> Steps[int]:
    rows = yield Statement(_SPARSEVEC_OID)
    return int(rows[0][0])


def _render(template: LiteralString, index: _VectorIndex) -> bytes:
    tables, has_text = index.tables, index.average_length is not None
    parts = (
        sql.SQL("sparsevec_send(v.{part}) as {part}").format(part=sql.Identifier(part))
        for part in SPARSE_PARTS
    )
    sizes = (
        sql.SQL("coalesce(pg_column_size(v.{}), 0)").format(sql.Identifier(part))
        for part in SPARSE_PARTS
    )
    return render(
        template,
        records=sql.Identifier(tables.schema, f"records_{tables.id.hex}"),
        column=tables.column,
        vectors=tables.vectors,
        changes=tables.changes,
        blocks=tables.blocks,
        slots=tables.slots,
        chunk=sql.Literal(CHUNK_SLOTS),
        weights=tables.weights,
        removed=tables.removed,
        names=sql.SQL(", ").join(map(sql.Identifier, SPARSE_PARTS)),
        parts=sql.SQL(", ").join(parts),
        bytes=sql.SQL(" + ").join(sizes),
        term=sql.SQL(TERM).format(size=sql.Literal(PART_DIMENSION)),
        seq=sql.SQL("seq, " if has_text else ""),
        v_seq=sql.SQL("v.seq, " if has_text else ""),
    )


_SPARSEVEC_OID = render("select t.sparsevec::bigint from {oids} as t", oids=TYPE_OIDS)

_VACUUM: LiteralString = "vacuum {changes}"

_ANALYZE: Final[tuple[LiteralString, ...]] = (
    "analyze {changes}",
    "analyze {blocks} (block)",
    "analyze {slots} (block, chunk)",
    "analyze {weights} (block, least)",
    "analyze {vectors} (pos, seq)",
)

_COUNT: LiteralString = """
select count(*) from (select from {changes} where is_plain limit %(limit)s) as c
"""

_CHANGES: LiteralString = """
select
    count(*) filter (where not is_removed and is_plain),
    count(*) filter (where is_removed)
from {changes}
"""

_BLOCKS: LiteralString = "select block, vectors, removed, size from {blocks}"

# A vector that was added and removed again was never in a block.
_DELETE_PAIRS: LiteralString = """
with pairs as materialized (
    select a.pos
    from {changes} as a
    join {changes} as r on r.pos = a.pos
    where not a.is_removed and r.is_removed
),
cleared as (
    delete from {changes} as c using pairs as p where c.pos = p.pos
)
delete from {vectors} as v using pairs as p where v.pos = p.pos
"""

# Reads each vector once, by its key, however many there are.
_TAKE: LiteralString = """
with added as materialized (
    select pos from {changes} where not is_removed and is_plain order by pos limit %(slots)s
),
sized as materialized (
    select v.*, sum(v.size) over (order by v.pos) - v.size as bytes_before
    from added as c
    cross join lateral (
        select v.pos, {bytes} as size, {parts} from {vectors} as v where v.pos = c.pos offset 0
    ) as v
),
taken as materialized (
    select * from sized where bytes_before <= %(bytes)s
),
cleared as (
    delete from {changes} as c using taken as t where c.pos = t.pos and not c.is_removed
)
select pos, {names} from taken order by pos
"""

# A change without a vector or a record is of a document that was deleted in SQL.
_READ_WORDS: LiteralString = """
with added as materialized (
    select c.pos, c.seq from {changes} as c
    where not c.is_removed and c.is_plain
        and not exists (select from {vectors} as v where v.pos = c.pos offset 0)
    order by c.pos
    limit %(slots)s
),
sized as materialized (
    select
        c.pos, c.seq, r.lexemes,
        sum(r.size) over (order by c.pos) - r.size as bytes_before
    from added as c
    left join lateral (
        select r.lexemes, pg_column_size(r.lexemes) as size from {records} as r
        where r.seq = c.seq and r.{column} = c.pos
        offset 0
    ) as r on true
),
gone as (
    delete from {changes} as c using sized as s
    where c.pos = s.pos and s.lexemes is null and not c.is_removed
)
select s.pos, s.seq, w.words
from sized as s
cross join lateral (
    select array_send(array_agg(({term} << 9) | cardinality(u.positions))) as words
    from unnest(s.lexemes) as u
) as w
where s.lexemes is not null and s.bytes_before <= %(bytes)s
"""

_SET_ASIDE: LiteralString = """
update {changes} set is_plain = false where pos = any(%(positions)b::bigint[]) and not is_removed
"""

_INSERT_VECTORS: LiteralString = """
insert into {vectors} (pos, seq, p0, is_plain)
select *, true
from unnest(%(positions)b::bigint[], %(seqs)b::bigint[], %(vectors)b::sparsevec[])
"""

_INSERT_BLOCK: LiteralString = """
with made as (
    insert into {blocks} (block, vectors, size)
    select coalesce(max(block) + 1, 0), cardinality(%(positions)b::bigint[]), %(size)s
    from {blocks}
    returning block
),
placed as (
    insert into {slots} (block, chunk, positions)
    select m.block, (p.slot - 1) / {chunk}, array_agg(p.pos order by p.slot)
    from made as m
    cross join unnest(%(positions)b::bigint[]) with ordinality as p (pos, slot)
    group by 1, 2
)
insert into {weights} (block, least, terms, vectors, greatest, weights)
select
    m.block, min(t.term), array_agg(t.term), array_agg(t.vectors), array_agg(t.greatest),
    array_agg(t.weights)
from made as m
cross join unnest(
    %(rows)b::int[], %(terms)b::bigint[], %(counts)b::int[], %(greatest)b::real[],
    %(weights)b::sparsevec[]
) as t (n, term, vectors, greatest, weights)
group by m.block, t.n
"""

_DELETE_REMOVED: LiteralString = """
with gone as materialized (
    select r.pos from {changes} as r
    where r.is_removed
    order by r.pos
    limit %(limit)s
),
cleared as (
    delete from {changes} as c using gone as g where c.pos = g.pos
)
delete from {vectors} as v using gone as g where v.pos = g.pos
returning v.pos, {parts}
"""

_FIND: LiteralString = """
select t.pos, c.block, (c.chunk * {chunk} + t.slot)::int
from {slots} as c
cross join lateral unnest(c.positions) with ordinality as t (pos, slot)
join unnest(%(positions)b::bigint[]) as g (pos) on g.pos = t.pos
"""

_COUNT_REMOVED: LiteralString = """
insert into {removed} (block, term, vectors)
select * from unnest(%(blocks)b::int[], %(terms)b::bigint[], %(vectors)b::int[])
"""

_MASKS: LiteralString = """
select block, sparsevec_send(mask) from {blocks} where block = any(%(blocks)b::int[])
"""

_SET_MASKS: LiteralString = """
update {blocks} as b set mask = t.mask, removed = t.removed
from unnest(%(blocks)b::int[], %(masks)b::sparsevec[], %(removed)b::int[])
    as t (block, mask, removed)
where b.block = t.block
"""

# Vectors that were removed from a block have no row.
_DISSOLVE: LiteralString = """
with gone as (
    delete from {slots} where block = any(%(blocks)b::int[]) returning positions
),
blocks as (
    delete from {blocks} where block = any(%(blocks)b::int[])
),
weights as (
    delete from {weights} where block = any(%(blocks)b::int[])
),
removed as (
    delete from {removed} where block = any(%(blocks)b::int[])
),
added as (
    insert into {changes} (pos, {seq}is_removed, is_plain)
    select v.pos, {v_seq}false, true
    from gone as g
    cross join lateral unnest(g.positions) as p (pos)
    join {vectors} as v on v.pos = p.pos
    returning pos
)
select count(*) from added
"""

# Someone deleted or changed records in SQL. What a writer replaced is among the changes.
_NOTE_ORPHANS: LiteralString = """
insert into {changes} (pos, is_removed, is_plain)
select v.pos, true, true
from {vectors} as v
where not exists (
        select from {records} as r where r.seq = v.seq and r.{column} = v.pos
    ) and not exists (
        select from {changes} as c where c.pos = v.pos and c.is_removed
    )
"""
