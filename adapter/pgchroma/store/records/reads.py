"""Handlers that count records and read pages of them."""

from __future__ import annotations

from typing import Final, LiteralString

from pgchroma.model.operations import CountRecords, GetRecords
from pgchroma.model.records import RecordColumns
from pgchroma.store.conditions.condition import Condition, resolve_where
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.records.columns import columns_from_rows, columns_of, compose
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, text_of

__all__ = ("EMBEDDINGS", "count_records", "get_records", "select_page")


@handles(CountRecords)
def count_records(operation: CountRecords, context: StoreContext) -> Steps[int]:
    """Add up the counts that writes have stored. The time does not depend on the record count."""
    resolved = yield from resolve(operation.collection, context)
    rows = yield Statement(text_of(resolved.tables.record_count))
    return int(rows[0][0])


@handles(GetRecords)
def get_records(operation: GetRecords, context: StoreContext) -> Steps[RecordColumns]:
    """Read a page of records in insertion order."""
    resolved, condition = yield from resolve_where(
        operation.collection,
        context,
        operation.ids,
        operation.filter,
        is_fresh=operation.filter is not None,
        may_lag=True,
    )
    columns = columns_of(operation.include, resolved)
    statement = select_page(resolved, condition, columns, operation.limit, operation.offset or 0)
    rows = yield from condition.read(condition.step(statement))
    return columns_from_rows(rows, columns, operation.include, resolved)


def select_page(
    resolved: ResolvedCollection,
    condition: Condition,
    columns: tuple[str, ...],
    limit: int | None,
    offset: int,
) -> Statement:
    """Return the statement that reads a page of the matching records in insertion order."""
    template = _GET_EMBEDDINGS if "embeddings" in columns else _GET
    # With one plan for all limits, PostgreSQL expects a tenth of the records that match, and would
    # look for ids by reading small collections in the page's order.
    fence = b"offset 0" if condition.requires_ids and condition.reuses_plan else b""
    text = compose(
        template, resolved.tables, columns, condition=text_of(condition.sql), fence=fence
    )
    return condition.statement(text, {"limit": limit, "offset": offset})


# The page is selected before columns are computed, so the metadata of skipped records is not
# converted.
_PAGE: Final[LiteralString] = """
select {columns}
from (
    select * from (select * from {records} as r where {condition} {fence}) as r
    order by r.seq
    limit %(limit)s::bigint offset %(offset)s::bigint
) as r
"""

EMBEDDINGS: Final[LiteralString] = "left join {vectors} as v on v.pos = r.pos"
"""Joins the embeddings of records ``r``."""

_ORDER: Final[LiteralString] = "\norder by r.seq"

_GET: Final[LiteralString] = _PAGE + _ORDER
_GET_EMBEDDINGS: Final[LiteralString] = _PAGE + EMBEDDINGS + _ORDER
