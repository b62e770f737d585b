"""Handlers that write records: each batch is written in one round trip and one transaction.

Writers wait for each other and do not deadlock. A first statement claims all rows of the batch in
the order of their ids: it locks existing rows, and an upsert also inserts the missing ones. A
second statement, sent with the first, changes the rows. It never waits. It sees what earlier
writers have committed, so it deletes the embeddings that it replaces. Updates lock their records as
deletions do; see `pgchroma.store.conditions.row_locks`.

Positions in insertion order and in the log are drawn in the order of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString

from psycopg import sql

from pgchroma.model.operations import (
    AddRecords,
    CollectionRef,
    UpdateRecords,
    UpsertRecords,
)
from pgchroma.model.records import RecordBatch
from pgchroma.model.types import Modality
from pgchroma.store.conditions.condition import BY_IDS
from pgchroma.store.conditions.row_locks import HELD, IS_HELD, LOCK, hold
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.metadata import encode_metadatas
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.text_arrays import TextArray, pack_encoded, pack_texts
from pgchroma.store.encoding.vectors import PackedArray, pack_vectors
from pgchroma.store.handlers import handles
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.records.sparse import SparseClauses, sparse_parameters, without_sparse
from pgchroma.store.records.vector_parts import is_large, store_parts
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import make_vectors, resolve, resolve_for_query
from pgchroma.store.running.steps import Statement, Steps, Transaction, render
from pgchroma.store.sequences import advance_once

__all__ = ("add_records", "update_records", "upsert_records")


@handles(AddRecords)
def add_records(operation: AddRecords, context: StoreContext) -> Steps[None]:
    """Insert the records whose id is new. If an id is repeated, insert the first record with it."""
    yield from _write(_ADD, operation, operation.records, context)


@handles(UpsertRecords)
def upsert_records(operation: UpsertRecords, context: StoreContext) -> Steps[None]:
    """Update the records that exist, and insert the others."""
    records = operation.records.merged()
    yield from _write(_UPSERT, operation, records, context)


@handles(UpdateRecords)
def update_records(operation: UpdateRecords, context: StoreContext) -> Steps[None]:
    """Update the records that exist, and ignore the others."""
    records = operation.records.merged()
    yield from _write(_UPDATE, operation, records, context)


@dataclass(frozen=True, slots=True)
class WriteShape:
    """The parts of a write's statements.

    Attributes:
        claim: The statement that locks or inserts the rows. Empty if `records` does that.
        records: The clauses that write the records.
        vectors: The clauses that return the positions of their embeddings as arrays, and delete the
            embeddings that are replaced.
        sparse: The clauses that write their sparse vectors.
        shadow: The clauses that write their pending or previous embeddings.
        is_held: The expression for whether the change was made. Empty if it is always made.
    """

    claim: LiteralString
    records: LiteralString
    vectors: LiteralString
    sparse: LiteralString
    shadow: LiteralString = ""
    is_held: LiteralString = ""


def _write(
    shape: WriteShape,
    operation: AddRecords | UpsertRecords | UpdateRecords,
    records: RecordBatch,
    context: StoreContext,
) -> Steps[None]:
    if not len(records):
        return
    if records.dimension is None:
        resolved = yield from resolve(operation.collection, context)
    else:
        resolved = yield from resolve_for_query(operation.collection, context, records.dimension)
    yield from advance_once(resolved, context)
    if resolved.dimension is None and records.dimension is not None:
        yield Transaction(_write_first(shape, operation.collection, records, resolved, context))
    else:
        yield from _send(shape, records, resolved, context)
    context.record_write(resolved, records.metadatas)


def _write_first(
    shape: WriteShape,
    collection: CollectionRef,
    records: RecordBatch,
    resolved: ResolvedCollection,
    context: StoreContext,
) -> Steps[None]:
    """Set the dimension, create the table of vectors and write the first embeddings."""
    resolved = yield from make_vectors(collection, resolved, context, records.dimension or 0)
    yield from _send(shape, records, resolved, context)


def _send(
    shape: WriteShape, records: RecordBatch, resolved: ResolvedCollection, context: StoreContext
) -> Steps[None]:
    if is_large(records):
        # Each attempt is a transaction of its own, as in `hold`: it must not keep its locks.
        while not (yield Transaction(_send_in_parts(shape, records, resolved, context))):
            pass
        return
    claim, change = _statements(shape, records, resolved, context)
    if shape.is_held:
        yield from hold(claim, change)
    elif shape.claim:
        yield claim, change
    else:
        yield change


def _send_in_parts(
    shape: WriteShape, records: RecordBatch, resolved: ResolvedCollection, context: StoreContext
) -> Steps[bool]:
    """Write records, and then their embeddings in parts.

    Return whether the change was made. Otherwise nothing has changed.
    """
    claim, change = _statements(shape, records, resolved, context, in_parts=True)
    rows: Any = (yield claim, change) if shape.claim else (yield change)
    positions, seqs, *is_held = rows[0]
    if not all(is_held):
        return False
    embeddings: Any = records.embeddings
    yield from store_parts(embeddings, positions, seqs, resolved.tables, context)
    return True


def _statements(
    shape: WriteShape,
    records: RecordBatch,
    resolved: ResolvedCollection,
    context: StoreContext,
    *,
    in_parts: bool = False,
) -> tuple[Statement, Statement]:
    """Return the statement that locks or inserts the rows, and the one that changes them."""
    numbers = resolved.filterable.sparse_numbers()
    claim, change = _render_statements(
        shape,
        resolved.tables,
        resolved.shadow,
        records.dimension is not None,
        in_parts,
        records.modality,
        tuple(numbers.values()),
        resolved.filterable.text_number,
    )
    columns = _column_parameters(
        records, numbers, context.sparsevec_oid, removals=shape is not _ADD
    )
    changed = columns
    if records.embeddings is not None and not in_parts:
        changed = {**columns, "embeddings": pack_vectors(records.embeddings, context.vector_oid)}
    return Statement(claim, columns), Statement(change, changed)


def _column_parameters(
    records: RecordBatch, numbers: Mapping[str, int], sparsevec_oid: int, *, removals: bool
) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "ids": pack_texts(records.ids),
        "documents": _packed_texts(records.documents),
        "uris": _packed_texts(records.uris),
        "metadatas": None,
        "are_embedded": _are_embedded(records),
        **sparse_parameters(records.metadatas, numbers, sparsevec_oid),
    }
    metadatas = without_sparse(records.metadatas, numbers, removals=removals)
    if metadatas is not None:
        columns["metadatas"] = pack_encoded(encode_metadatas(metadatas))
    return columns


def _packed_texts(texts: list[str | None] | None) -> TextArray | None:
    return None if texts is None else pack_texts(texts)


def _are_embedded(records: RecordBatch) -> PackedArray | None:
    if records.embeddings is None:
        return None
    return pack_numbers(records.has_embedding or [True] * len(records), "boolean")


@lru_cache(maxsize=1024)
def _render_statements(
    shape: WriteShape,
    tables: CollectionTables,
    shadow: CollectionTables | None,
    has_vectors: bool,
    in_parts: bool,
    modality: Modality | None,
    numbers: tuple[int, ...],
    text_number: int | None,
) -> tuple[bytes, bytes]:
    document, uri = _DOCUMENT_AND_URI[modality]
    parts: dict[str, sql.Composable] = {
        "records": tables.records,
        "vectors": tables.vectors,
        "log": tables.log_literal,
        "counts": tables.counts,
        "document": sql.SQL(document),
        "uri": sql.SQL(uri),
        "condition": BY_IDS,
        **SparseClauses(tables, numbers, text_number, modality).parts(),
    }
    vectors: LiteralString = shape.vectors if has_vectors else ""
    if has_vectors and shadow is not None:
        vectors += shape.shadow
        parts["shadow"] = shadow.vectors
    answer: LiteralString = _SELECT + shape.is_held
    if in_parts:
        answer = _SELECT_TARGETS.format(is_held=f", {shape.is_held}" if shape.is_held else "")
    elif has_vectors:
        vectors += _STORED
    change = render(_WITH + shape.records + vectors + shape.sparse + answer, **parts)
    return render(shape.claim, **parts), change


_WITH: LiteralString = "with "
# PostgreSQL locks tables in the order in which the clauses before this name them, whether the
# statement is prepared or not: records before vectors, as in every other statement.
_SELECT: LiteralString = "select "
_SELECT_TARGETS: LiteralString = "select t.positions, t.records{is_held} from targets as t"

# A transaction that reaches an id that another one inserts, changes or deletes waits there, and
# holds only the rows before it. So all writers wait in the order of the ids. An existing row is
# locked and not changed, because of `where false`. Otherwise it could be deleted while this
# statement waits for the next id, and only a part of the batch would exist.
_ADDED: LiteralString = """
input as materialized (
    select
        nextval({log}) as drawn, n, id, document, uri, metadata::jsonb as metadata,
        is_embedded{sparse_names}
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        %(are_embedded)b::bool[]{sparse_arrays}
    ) with ordinality as batch (id, document, uri, metadata, is_embedded{sparse_names}, n)
),
inserted as (
    insert into {records}
        (seq, pos, id, document, uri, metadata, created_at, updated_at{sparse_columns})
    select distinct on (id collate "C")
        drawn, case when is_embedded then drawn end, id, document, uri, metadata,
        now(), now(){sparse_drawn}
    from input
    order by id collate "C", n
    on conflict (id) do update set updated_at = excluded.updated_at where false
    returning seq
),
"""

# Each write inserts a separate row, so writers of one collection do not wait for each other.
_COUNTED: LiteralString = """
counted as (
    insert into {counts} (place, change, operations)
    select nextval({log}), count(*), count(*) from inserted having count(*) > 0
)
"""

_ADDED_TARGETS: LiteralString = """,
targets as (
    select array_agg(a.seq order by i.n) as positions, array_agg(a.seq order by i.n) as records
    from input as i
    left join inserted as a on a.seq = i.drawn
    where i.is_embedded
)
"""

# The embeddings are no column of the input: PostgreSQL copies the rows of a function, of `with` and
# of a sort, into a file if they exceed `work_mem`. In a select list, `unnest` returns one element
# after the other, and several of them advance together. The array of embeddings has no nulls. So
# the positions are those of the records with an embedding, and null if nothing is to be stored.
_STORED: LiteralString = """,
stored as (
    insert into {vectors} (pos, seq, embedding)
    select pos, seq, embedding
    from (
        select
            unnest(positions) as pos, unnest(records) as seq,
            unnest(%(embeddings)b::vector[]) as embedding
        from targets
    ) as embedded
    where pos is not null
)
"""

# Locks rows as above. The embeddings are sent with the second statement, which knows the positions
# of the rows.
_INSERT_OR_LOCK: LiteralString = """
input as materialized (
    select
        nextval({log}) as drawn, id, document, uri, metadata::jsonb as metadata,
        is_embedded{sparse_claim_names}
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        %(are_embedded)b::bool[]{sparse_claim_arrays}
    ) as batch (id, document, uri, metadata, is_embedded{sparse_claim_names})
),
inserted as (
    insert into {records}
        (seq, pos, id, document, uri, metadata, created_at, updated_at{sparse_columns})
    select
        drawn, case when is_embedded then drawn end, id, document, uri,
        nullif(jsonb_strip_nulls(metadata), '{{}}'), now(), now(){sparse_drawn}
    from input
    order by id collate "C"
    on conflict (id) do update set updated_at = excluded.updated_at where false
    returning seq
),
"""

# How an update changes the document and the uri. A text that is embedded again keeps its uri, which
# names its source. In a record without a text, the uri is the location of its image.
_DOCUMENT: Final = "coalesce(p.document, r.document)"
_URI: Final = "coalesce(p.uri, r.uri)"
_DOCUMENT_AND_URI: Final[dict[Modality | None, tuple[LiteralString, LiteralString]]] = {
    None: (_DOCUMENT, _URI),
    "image": (
        f"case when p.pos is null then {_DOCUMENT} else p.document end",
        f"case when p.pos is null then {_URI} else p.uri end",
    ),
    "text": (
        _DOCUMENT,
        f"case when p.pos is not null and r.document is null then p.uri else {_URI} end",
    ),
}

_INPUT: LiteralString = """
input as materialized (
    select n, id, document, uri, metadata::jsonb as metadata, is_embedded{sparse_names}
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        %(are_embedded)b::bool[]{sparse_arrays}
    ) with ordinality as batch (id, document, uri, metadata, is_embedded{sparse_names}, n)
),
"""

# A row that existed was locked, so its xmax is set. The xmax of an inserted row is zero.
_INSERTED_OR_LOCKED: LiteralString = """
held as materialized (
    select r.seq, r.pos, r.id, r.xmax = '0'::xid as is_new{sparse_held}
    from {records} as r
    where {condition}
)"""

_CHANGED: LiteralString = """,
positions as materialized (
    select
        *,
        case
            when is_embedded is not true then null
            when is_new then replaced
            else nextval({log})
        end as pos{sparse_positions}
    from (
        select i.*, h.seq, h.pos as replaced, h.is_new{sparse_replaced}
        from input as i
        join held as h on h.id = i.id
        order by i.n
    ) as matched
),
updated as (
    update {records} as r
    set
        pos = coalesce(p.pos, r.pos),
        document = {document},
        uri = {uri},
        metadata = nullif(
            jsonb_strip_nulls(coalesce(r.metadata, '{{}}') || coalesce(p.metadata, '{{}}')), '{{}}'
        ),
        {sparse_set}updated_at = now()
    from positions as p
    where r.seq = p.seq and not p.is_new
),
counted as (
    insert into {counts} (place, change, operations)
    select nextval({log}), 0, count(*) from positions where not is_new having count(*) > 0
)
"""

_REPLACED: LiteralString = """,
replaced as (
    delete from {vectors} as v using positions as p
    where v.pos = p.replaced and p.pos is not null and not p.is_new
),
targets as (
    select array_agg(p.pos order by i.n) as positions, array_agg(p.seq order by i.n) as records
    from input as i
    left join positions as p on p.n = i.n
    where i.is_embedded
)
"""

_REPLACED_SHADOW: LiteralString = """,
outdated as (
    delete from {shadow} as s using positions as p
    where s.pos = p.replaced and p.pos is not null and not p.is_new
)
"""

_ADD = WriteShape("", _ADDED + _COUNTED, _ADDED_TARGETS, "{sparse_added}")
_UPDATE = WriteShape(
    LOCK, _INPUT + HELD + _CHANGED, _REPLACED, "{sparse_changed}", _REPLACED_SHADOW, IS_HELD
)
_UPSERT = WriteShape(
    _WITH + _INSERT_OR_LOCK + _COUNTED + _SELECT,
    _INPUT + _INSERTED_OR_LOCKED + _CHANGED,
    _REPLACED,
    "{sparse_changed}",
    _REPLACED_SHADOW,
)
