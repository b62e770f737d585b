"""Handlers that write records: one round trip and one transaction, all of a batch or nothing.

Places in insertion order and in the log are drawn while the batch is read, in the order of the
batch; rows are locked and inserted in the order of their ids, so that two batches that overlap
wait for each other instead of deadlocking. Rows that are changed or deleted are locked by a
statement of their own, sent along with the one that writes: this one then sees what the writer
before it has committed, and clears away the vectors it replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString

from psycopg import sql

from pgchroma.model.operations import AddRecords, DeleteRecords, UpdateRecords, UpsertRecords
from pgchroma.model.records import RecordBatch
from pgchroma.model.types import Modality
from pgchroma.store.conditions import BY_IDS, compile_conditions, keeps_plan, time_bound
from pgchroma.store.handlers import handles
from pgchroma.store.json import encode_metadata
from pgchroma.store.layout import CollectionTables
from pgchroma.store.locations import (
    Environment,
    Location,
    locate,
    locate_fitting,
    make_vectors,
)
from pgchroma.store.statement import Atomic, Exchange, Statement, render
from pgchroma.store.vectors import pack_vectors

__all__ = ("add_records", "delete_records", "update_records", "upsert_records")


@handles(AddRecords)
def add_records(operation: AddRecords, environment: Environment) -> Exchange[None]:
    """Insert the records whose id is new; of several with one id the first."""
    yield from _write(_ADD, operation, operation.records, environment)


@handles(UpsertRecords)
def upsert_records(operation: UpsertRecords, environment: Environment) -> Exchange[None]:
    """Update the records that are there, insert the others.

    A record that another writer inserts meanwhile makes the insert fail whole with a unique
    violation, and whoever runs the handler runs it again.
    """
    records = operation.records.merged()
    yield from _write(_UPSERT, operation, records, environment)


@handles(UpdateRecords)
def update_records(operation: UpdateRecords, environment: Environment) -> Exchange[None]:
    """Update the records that are there."""
    records = operation.records.merged()
    yield from _write(_UPDATE, operation, records, environment)


@handles(DeleteRecords)
def delete_records(operation: DeleteRecords, environment: Environment) -> Exchange[int]:
    """Delete records with their embeddings."""
    is_filtered = operation.filter is not None
    location = yield from locate(operation.collection, environment, is_fresh=is_filtered)
    location.indexed.check(operation.filter)
    parameters, condition = compile_conditions(
        operation.ids, operation.filter, location.indexes.secondary
    )
    if operation.limit is not None:
        first = sql.SQL(_FIRST).format(
            records=location.tables.records,
            condition=condition,
            limit=parameters.bind(operation.limit),
        )
        # The condition stands in both places: a row that changes meanwhile is tested again.
        condition = sql.SQL("{} and {}").format(condition, first)
    cleared: LiteralString = _CLEARED if location.dimension is not None else ""
    text = render(
        _DELETE,
        records=location.tables.records,
        counts=location.tables.counts,
        log=location.tables.log_literal,
        condition=condition,
        cleared=sql.SQL(cleared).format(vectors=location.tables.vectors),
    )
    lock = render(_LOCK, records=location.tables.records, condition=condition)
    settings = time_bound(operation.filter, environment)
    is_kept = keeps_plan(operation.filter, location.indexes.secondary)
    statements = (Statement(sent, parameters, is_kept) for sent in (lock, text))
    rows = yield *settings, *statements
    environment.note_write(location)
    return int(rows[0][0])


@dataclass(frozen=True, slots=True)
class _Form:
    """The text of a write: what happens to records, and then to vectors.

    Attributes:
        counted: What notes how many records there are more; empty if none are.
        written: The rows of records whose vectors are to be replaced.
        is_locking: Whether rows that are there already may change.
    """

    records: LiteralString
    vectors: LiteralString
    counted: LiteralString = ""
    written: LiteralString = ""
    is_locking: bool = True


def _write(
    form: _Form,
    operation: AddRecords | UpsertRecords | UpdateRecords,
    records: RecordBatch,
    environment: Environment,
) -> Exchange[None]:
    if not len(records):
        return
    if records.dimension is None:
        location = yield from locate(operation.collection, environment)
    else:
        location = yield from locate_fitting(operation.collection, environment, records.dimension)
    if location.dimension is None and records.dimension is not None:
        yield Atomic(_write_first(form, records, location, environment))
    else:
        yield from _send(form, records, location, environment)
    environment.note_write(location)


def _write_first(
    form: _Form, records: RecordBatch, location: Location, environment: Environment
) -> Exchange[None]:
    """Write the first embeddings: their dimension, their table and they themselves, or nothing."""
    location = yield from make_vectors(location, environment, records.dimension or 0)
    yield from _send(form, records, location, environment)


def _send(
    form: _Form, records: RecordBatch, location: Location, environment: Environment
) -> Exchange[None]:
    text = _write_text(form, location.tables, records.dimension is not None, records.modality)
    write = Statement(text, _columns(records, environment))
    if form.is_locking:
        lock = render(_LOCK, records=location.tables.records, condition=BY_IDS)
        yield Statement(lock, {"ids": records.ids}), write
    else:
        yield write


def _columns(records: RecordBatch, environment: Environment) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "ids": records.ids,
        "documents": records.documents,
        "uris": records.uris,
        "metadatas": None,
    }
    if records.metadatas is not None:
        columns["metadatas"] = [encode_metadata(metadata) for metadata in records.metadatas]
    if records.embeddings is not None:
        columns["embeddings"] = pack_vectors(
            records.embeddings, records.has_embedding, environment.vector_oid
        )
    return columns


@lru_cache(maxsize=1024)
def _write_text(
    form: _Form, tables: CollectionTables, has_vectors: bool, modality: Modality | None
) -> bytes:
    document, uri = _KEPT[modality]
    parts: dict[str, sql.Composable] = {
        "records": tables.records,
        "vectors": tables.vectors,
        "log": tables.log_literal,
        "counts": tables.counts,
        "written": sql.SQL(form.written),
        "document": sql.SQL(document),
        "uri": sql.SQL(uri),
    }
    given: LiteralString = _GIVEN_VECTORS if has_vectors else _GIVEN
    vectors: LiteralString = form.vectors if has_vectors else ""
    # Nothing stands behind `with`, so that tables are locked in the order in which they stand
    # here, prepared or not: records before vectors, as everywhere.
    return render("with " + given + form.records + form.counted + vectors + "select", **parts)


_GIVEN_VECTORS: LiteralString = """
input as materialized (
    select nextval({log}) as place, n, id, document, uri, metadata::jsonb as metadata, embedding
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[],
        %(embeddings)b::vector[]
    ) with ordinality as given (id, document, uri, metadata, embedding, n)
),
places as (
    select *, case when embedding is not null then place end as pos from input
),
"""

_GIVEN: LiteralString = """
places as materialized (
    select
        nextval({log}) as place, n, id, document, uri, metadata::jsonb as metadata,
        null::bigint as pos
    from unnest(
        %(ids)b::text[], %(documents)b::text[], %(uris)b::text[], %(metadatas)b::text[]
    ) with ordinality as given (id, document, uri, metadata, n)
),
"""

_ADDED: LiteralString = """
added as (
    insert into {records} (seq, pos, id, document, uri, metadata, created_at, updated_at)
    select place, pos, id, document, uri, metadata, now(), now()
    from places
    order by id collate "C", n
    on conflict (id) do nothing
    returning seq
)
"""

_INSERT_ADDED: LiteralString = """,
stored as (
    insert into {vectors} (pos, seq, embedding)
    select place, place, embedding
    from input
    where embedding is not null and place in (select seq from added)
    order by place
)
"""

# Each write leaves a row of its own: writers of one collection do not wait for each other.
_COUNT_ADDED: LiteralString = """,
counted as (
    insert into {counts} (place, change)
    select nextval({log}), count(*) from added having count(*) > 0
)
"""

_COUNT_INSERTED: LiteralString = """,
counted as (
    insert into {counts} (place, change)
    select nextval({log}), count(*) from inserted having count(*) > 0
)
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

_LOCK: LiteralString = """
select count(*)
from (select from {records} as r where {condition} order by r.id for update) as locked
"""

_UPDATED: LiteralString = """
old as materialized (
    select seq, pos, id from {records} where id = any(%(ids)b::text[])
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
    from old
    join places as p on p.id = old.id
    where r.seq = old.seq
    returning r.seq, r.id, p.pos, old.pos as replaced
)
"""

_INSERTED: LiteralString = """,
inserted as (
    insert into {records} (seq, pos, id, document, uri, metadata, created_at, updated_at)
    select
        place, pos, id, document, uri, nullif(jsonb_strip_nulls(metadata), '{{}}'), now(), now()
    from places as p
    where not exists (select from updated as u where u.id = p.id)
    order by id collate "C"
    returning seq, pos
)
"""

_REPLACED: LiteralString = """,
written as ({written}),
replaced as (
    delete from {vectors} as v using updated as u where v.pos = u.replaced and u.pos is not null
),
stored as (
    insert into {vectors} (pos, seq, embedding)
    select w.pos, w.seq, i.embedding
    from written as w
    join input as i on i.place = w.pos
    order by w.pos
)
"""

_ADD = _Form(_ADDED, _INSERT_ADDED, _COUNT_ADDED, is_locking=False)
_UPDATE = _Form(_UPDATED, _REPLACED, written="select seq, pos from updated")
_UPSERT = _Form(
    _UPDATED + _INSERTED,
    _REPLACED,
    _COUNT_INSERTED,
    "select seq, pos from updated union all select seq, pos from inserted",
)

_FIRST: LiteralString = """
r.seq = any(array(select r.seq from {records} as r where {condition} order by r.seq limit {limit}))
"""

_DELETE: LiteralString = """
with removed as (
    delete from {records} as r where {condition} returning r.pos
),
counted as (
    insert into {counts} (place, change)
    select nextval({log}), - count(*) from removed having count(*) > 0
)
{cleared}
select count(*) from removed
"""

_CLEARED: LiteralString = """
, cleared as (
    delete from {vectors} as v using removed where v.pos = removed.pos
)
"""
