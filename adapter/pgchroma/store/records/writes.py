"""Handlers that write records: one round trip and one transaction, all of a batch or nothing.

Writers wait for each other and do not deadlock. Each takes all rows it is about to change in one
statement and in the order of their ids: it locks those that are there, and an upsert inserts
those that are not at the same time. A second statement, sent along with the first, changes the
rows. It waits for nobody, and it sees what the writers before it have committed, so it clears
away the embeddings that it replaces. Records that are only updated are held as those that are
deleted; see `pgchroma.store.conditions.row_locks`.

Places in insertion order and in the log are drawn in the order of the batch.
"""

from __future__ import annotations

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
from pgchroma.store.encoding.metadata import encode_metadata
from pgchroma.store.encoding.vectors import VectorArray, pack_vectors
from pgchroma.store.handlers import handles
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import make_vectors, resolve, resolve_for_query
from pgchroma.store.running.steps import Statement, Steps, Transaction, render
from pgchroma.store.sequences import advance_once

__all__ = ("add_records", "update_records", "upsert_records")


@handles(AddRecords)
def add_records(operation: AddRecords, context: StoreContext) -> Steps[None]:
    """Insert the records whose id is new; of several with one id the first."""
    yield from _write(_ADD, operation, operation.records, context)


@handles(UpsertRecords)
def upsert_records(operation: UpsertRecords, context: StoreContext) -> Steps[None]:
    """Update the records that are there, insert the others."""
    records = operation.records.merged()
    yield from _write(_UPSERT, operation, records, context)


@handles(UpdateRecords)
def update_records(operation: UpdateRecords, context: StoreContext) -> Steps[None]:
    """Update the records that are there."""
    records = operation.records.merged()
    yield from _write(_UPDATE, operation, records, context)


@dataclass(frozen=True, slots=True)
class _Form:
    """The texts of a write.

    Attributes:
        claim: The statement that takes the rows; empty if the one that changes them does.
        records: What becomes of the records.
        vectors: What becomes of their embeddings.
        spare: What becomes of their second embeddings.
        is_held: Tells whether the change was made; empty if it always is.
    """

    claim: LiteralString
    records: LiteralString
    vectors: LiteralString
    shadow: LiteralString = ""
    is_held: LiteralString = ""


def _write(
    form: _Form,
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
        yield Transaction(_write_first(form, operation.collection, records, resolved, context))
    else:
        yield from _send(form, records, resolved, context)
    context.record_write(resolved)


def _write_first(
    form: _Form,
    collection: CollectionRef,
    records: RecordBatch,
    resolved: ResolvedCollection,
    context: StoreContext,
) -> Steps[None]:
    """Write the first embeddings: their dimension, their table and they themselves, or nothing."""
    resolved = yield from make_vectors(collection, resolved, context, records.dimension or 0)
    yield from _send(form, records, resolved, context)


def _send(
    form: _Form, records: RecordBatch, resolved: ResolvedCollection, context: StoreContext
) -> Steps[None]:
    has_vectors = records.dimension is not None
    claim, change = _texts(form, resolved.tables, resolved.shadow, has_vectors, records.modality)
    columns = _columns(records)
    claimed = {**columns, "are_embedded": _are_embedded(records)}
    changed = {**columns, "embeddings": _packed(records, context)}
    if form.is_held:
        yield from hold(Statement(claim, claimed), Statement(change, changed))
    elif claim:
        yield Statement(claim, claimed), Statement(change, changed)
    else:
        yield Statement(change, changed)


def _columns(records: RecordBatch) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "ids": records.ids,
        "documents": records.documents,
        "uris": records.uris,
        "metadatas": None,
    }
    if records.metadatas is not None:
        columns["metadatas"] = [encode_metadata(metadata) for metadata in records.metadatas]
    return columns


def _packed(records: RecordBatch, context: StoreContext) -> VectorArray | None:
    if records.embeddings is None:
        return None
    return pack_vectors(records.embeddings, records.has_embedding, context.vector_oid)


def _are_embedded(records: RecordBatch) -> list[bool] | None:
    if records.embeddings is None:
        return None
    return records.has_embedding or [True] * len(records)


@lru_cache(maxsize=1024)
def _texts(
    form: _Form,
    tables: CollectionTables,
    shadow: CollectionTables | None,
    has_vectors: bool,
    modality: Modality | None,
) -> tuple[bytes, bytes]:
    document, uri = _KEPT[modality]
    parts: dict[str, sql.Composable] = {
        "records": tables.records,
        "vectors": tables.vectors,
        "log": tables.log_literal,
        "counts": tables.counts,
        "document": sql.SQL(document),
        "uri": sql.SQL(uri),
        "condition": BY_IDS,
        "embeddings": sql.SQL(_EMBEDDINGS if has_vectors else _NO_EMBEDDINGS),
    }
    vectors: LiteralString = form.vectors if has_vectors else ""
    if has_vectors and shadow is not None:
        vectors += form.shadow
        parts["shadow"] = shadow.vectors
    change = render(_WITH + form.records + vectors + _NOTHING + form.is_held, **parts)
    return render(form.claim, **parts), change


_EMBEDDINGS: Final = "%(embeddings)b::vector[]"
_NO_EMBEDDINGS: Final = "null::text[]"

_WITH: LiteralString = "with "
# Tables are locked in the order in which they stand before it, prepared or not: records before
# vectors, as everywhere.
_NOTHING: LiteralString = "select "

# Whoever comes to an id that another inserts, changes or deletes waits there, and holds those
# before it only: the order of the rows is that of the waiting. A row that is there is locked by
# what does not change it, as `where` holds for none: else it could be deleted while the next id is
# waited for, and of a batch some would be there and others not.
_ADDED: LiteralString = """
input as materialized (
    select nextval({log}) as place, n, id, document, uri, metadata::jsonb as metadata, embedding
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        {embeddings}
    ) with ordinality as given (id, document, uri, metadata, embedding, n)
),
inserted as (
    insert into {records} (seq, pos, id, document, uri, metadata, created_at, updated_at)
    select distinct on (id collate "C")
        place, case when embedding is not null then place end, id, document, uri, metadata,
        now(), now()
    from input
    order by id collate "C", n
    on conflict (id) do update set updated_at = excluded.updated_at where false
    returning seq
),
"""

# Each write leaves a row of its own: writers of one collection do not wait for each other.
_COUNTED: LiteralString = """
counted as (
    insert into {counts} (place, change)
    select nextval({log}), count(*) from inserted having count(*) > 0
)
"""

_ADDED_VECTORS: LiteralString = """,
stored as (
    insert into {vectors} (pos, seq, embedding)
    select place, place, embedding
    from input
    where embedding is not null and place in (select seq from inserted)
    order by place
)
"""

# As above. Embeddings are sent with the other statement, which knows the rows' places.
_INSERT_OR_LOCK: LiteralString = """
input as materialized (
    select nextval({log}) as place, id, document, uri, metadata::jsonb as metadata, is_embedded
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        %(are_embedded)b::bool[]
    ) as given (id, document, uri, metadata, is_embedded)
),
inserted as (
    insert into {records} (seq, pos, id, document, uri, metadata, created_at, updated_at)
    select
        place, case when is_embedded then place end, id, document, uri,
        nullif(jsonb_strip_nulls(metadata), '{{}}'), now(), now()
    from input
    order by id collate "C"
    on conflict (id) do update set updated_at = excluded.updated_at where false
    returning seq
),
"""

# What becomes of document and uri. A text that is embedded anew keeps its uri, which says where it
# is from; the uri of a record without a text is where its image is.
_DOCUMENT: Final = "coalesce(p.document, r.document)"
_URI: Final = "coalesce(p.uri, r.uri)"
_KEPT: Final[dict[Modality | None, tuple[LiteralString, LiteralString]]] = {
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
    select n, id, document, uri, metadata::jsonb as metadata, embedding
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        {embeddings}
    ) with ordinality as given (id, document, uri, metadata, embedding, n)
),
"""

# A row that was there has been locked, and says by whom; one that was inserted has not.
_INSERTED_OR_LOCKED: LiteralString = """
held as materialized (
    select r.seq, r.pos, r.id, r.xmax = '0'::xid as is_new from {records} as r where {condition}
)"""

_CHANGED: LiteralString = """,
places as materialized (
    select
        *,
        case
            when embedding is null then null
            when is_new then replaced
            else nextval({log})
        end as pos
    from (
        select i.*, h.seq, h.pos as replaced, h.is_new
        from input as i
        join held as h on h.id = i.id
        order by i.n
    ) as found
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
        updated_at = now()
    from places as p
    where r.seq = p.seq and not p.is_new
)
"""

_REPLACED: LiteralString = """,
replaced as (
    delete from {vectors} as v using places as p
    where v.pos = p.replaced and p.pos is not null and not p.is_new
),
stored as (
    insert into {vectors} (pos, seq, embedding)
    select pos, seq, embedding from places where pos is not null order by pos
)
"""

_REPLACED_SPARE: LiteralString = """,
outdated as (
    delete from {shadow} as s using places as p
    where s.pos = p.replaced and p.pos is not null and not p.is_new
)
"""

_ADD = _Form("", _ADDED + _COUNTED, _ADDED_VECTORS)
_UPDATE = _Form(LOCK, _INPUT + HELD + _CHANGED, _REPLACED, _REPLACED_SPARE, IS_HELD)
_UPSERT = _Form(
    _WITH + _INSERT_OR_LOCK + _COUNTED + _NOTHING,
    _INPUT + _INSERTED_OR_LOCKED + _CHANGED,
    _REPLACED,
    _REPLACED_SPARE,
)
