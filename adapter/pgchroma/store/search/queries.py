"""The handler of queries: one statement over index segments and the part of the log without one.

How a query runs is chosen from what is known of the collection before it is sent:

exact     distances to all embeddings, or to those of all records that match;
index     the nearest that each segment's index finds and the nearest of the rows that no segment
          covers, and of these the nearest.

Under a condition the statement itself looks first. It takes the positions of the records that
match, up to a bound; are there no more, it computes the distances to exactly these. Only above the
bound it searches the indexes, and keeps of the nearest rows those that match. It takes no more
rows than an index gives reliably, several times the candidates it keeps while it searches: farther
away it passes over more and more.

So an answer is short where what matches lies elsewhere than what is near the query. It may also be
short since an index missed records, or since a row of vectors is no record's any more. An answer
that is short for any such reason is thrown away and the query runs again, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any, Final, LiteralString

import numpy as np
from psycopg import sql

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.inspection import Strategy
from pgchroma.model.operations import QueryRecords
from pgchroma.model.plain import shown
from pgchroma.model.records import QueriedRecords
from pgchroma.model.types import Space
from pgchroma.store.conditions.condition import (
    can_reuse_plan,
    compile_conditions,
    reading,
    time_bound,
)
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import (
    MAX_HALF,
    Segment,
    candidates,
    order_by_distance,
    ranges_without,
    within,
)
from pgchroma.store.layout.tables import MAX_PLAIN_DIMENSION, CollectionTables
from pgchroma.store.locations import (
    ReadyIndexes,
    ResolvedCollection,
    StoreContext,
    resolve,
    resolve_for_query,
)
from pgchroma.store.records.columns import MAX_CACHED_BYTES, columns_of, compose, shape
from pgchroma.store.records.vectors import pack_vector, pack_vectors
from pgchroma.store.running.steps import ComposedSQL, Rows, Statement, Steps, render, text_of

__all__ = ("PreparedQuery", "exact_scan_limit", "locate_query", "prepare_query", "query_records")

MIN_EXACT_SCAN: Final = 10_000
"""So many matching records are always read exactly."""

INDEX_ROW_COST: Final = 10
"""What it costs to take a row from an index, in rows read exactly: measured 6 to 8, and an exact
answer is worth something."""

MAX_SEARCHED: Final = 10_000
"""More results are read exactly: pgvector ends a scan after 20,000 rows, found or not."""

MAX_NAMED: Final = 10
"""Ids a message names."""

MAX_EF_SEARCH: Final = 1_000
"""pgvector's greatest hnsw.ef_search."""

RELIABLE: Final = 3
"""How many times hnsw.ef_search rows an index gives in about the right order. Measured, of 100,000
records, for those from a rank on: at 3 times all are found, at 5 times nine in ten, at 10 times
seven in ten."""

MAX_FILTERED_RESULTS: Final = MAX_EF_SEARCH // RELIABLE
"""More results under a condition are read exactly: of a thousand, an index misses one in ten."""


@handles(QueryRecords)
def query_records(operation: QueryRecords, context: StoreContext) -> Steps[list[QueriedRecords]]:
    """Find the nearest records to each query."""
    if not len(operation.embeddings):
        yield from resolve(operation.collection, context)
        return []
    resolved = yield from locate_query(operation, context)
    if resolved.dimension is None or operation.n_results == 0:
        yield from _check_ids(operation, resolved)
        return _shape((), operation, resolved)
    query = prepare_query(operation, resolved, context)
    rows = yield reading(query.statement, query.settings)
    if not query.has_all_matches(rows):
        again = prepare_query(operation, resolved, context, force_exact=True)
        rows = yield reading(again.statement, again.settings)
    if rows:
        _refuse_missing(rows[0][_MISSING])
    else:
        yield from _check_ids(operation, resolved)
    return _shape(rows, operation, resolved)


def _check_ids(operation: QueryRecords, resolved: ResolvedCollection) -> Steps[None]:
    """Look for the ids of a query whose answer has no row to tell of them."""
    if operation.ids:
        text = render("select {missing}", missing=_missing(resolved.tables))
        rows = yield Statement(text, {"ids": operation.ids})
        _refuse_missing(rows[0][0])


def _refuse_missing(missing: Sequence[str] | None) -> None:
    if not missing:
        return
    listed = ", ".join(shown(id) for id in missing[:MAX_NAMED])
    more = " and others" if len(missing) > MAX_NAMED else ""
    raise InvalidArgumentError(
        f"Error finding id: the collection has no record {listed}{more}; "
        "ids of a query are those of records that are there"
    )


def _missing(tables: CollectionTables) -> sql.Composable:
    return sql.SQL(_MISSING_IDS).format(records=tables.records, limit=sql.Literal(MAX_NAMED + 1))


def locate_query(operation: QueryRecords, context: StoreContext) -> Steps[ResolvedCollection]:
    """Find the collection that a query is about, as it is now, and check that they fit."""
    dimension = operation.embeddings.shape[1]
    resolved = yield from resolve_for_query(operation.collection, context, dimension, is_fresh=True)
    resolved.indexed.check(operation.filter)
    context.record_missing_indexes(resolved, operation.filter)
    return resolved


def exact_scan_limit(indexes: ReadyIndexes) -> int:
    """Tell how many matching records are read exactly rather than searched for in indexes.

    Reading m of n records costs m. To collect ef of them, an index gives ef n / m rows, at
    `INDEX_ROW_COST` each. Both cost the same at the root of their product.
    """
    return max(MIN_EXACT_SCAN, isqrt(INDEX_ROW_COST * indexes.ef_search * indexes.entries))


def breadth(indexes: ReadyIndexes, wanted: int, *, is_adaptive: bool) -> int:
    """Tell how many candidates the search of an index keeps, pgvector's hnsw.ef_search.

    Under a condition more than the bound match: were they spread evenly, the wanted ones would be
    among ``wanted * entries / bound`` rows.
    """
    most = max(
        candidates(each.quantization, wanted, indexes.ef_search) for each in indexes.segments
    )
    if is_adaptive:
        most = max(most, wanted * indexes.entries // exact_scan_limit(indexes))
    return min(max(indexes.ef_search, most), MAX_EF_SEARCH)


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query as it goes to PostgreSQL.

    Attributes:
        strategy: How it is run, unless fewer records match than are worth a search.
        is_adaptive: Whether the statement itself counts what matches, and decides.
        segments: The segments it searches.
        settings: What is set for it.
        limit: How many records are wanted for each query.
        count: How many queries there are.
    """

    strategy: Strategy
    is_adaptive: bool
    segments: tuple[Segment, ...]
    settings: tuple[Statement, ...]
    statement: Statement
    limit: int
    count: int

    def has_all_matches(self, rows: Rows) -> bool:
        """Whether an answer has all it can have.

        It has not if a row of vectors was no record's, or if an index gave fewer than wanted.
        """
        found = [0] * (self.count + 1)
        is_searched = self.strategy == "index" and not self.is_adaptive
        for row in rows:
            is_searched = is_searched or row[_IS_SEARCHED]
            if row[_DISTANCE] is None:
                continue
            if row[_ID] is None:
                return False
            found[row[_QUERY]] += 1
        return not is_searched or min(found[1:]) >= self.limit

    @staticmethod
    def ids(rows: Rows) -> list[str]:
        """List the ids that an answer has, of all queries."""
        return [row[_ID] for row in rows if row[_DISTANCE] is not None]


def prepare_query(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    context: StoreContext,
    *,
    force_exact: bool = False,
) -> PreparedQuery:
    """Choose how a query is run, and compose it.

    Args:
        operation: What is asked for.
        resolved: The collection, which has a dimension.
        context: The database.
        force_exact: Whether the answer has to be exact, and of records alone.
    """
    has_condition = operation.ids is not None or operation.filter is not None
    strategy: Strategy = "exact" if force_exact else _strategy(operation, resolved)
    parameters, condition = compile_conditions(
        operation.ids, operation.filter, resolved.indexes.secondary
    )
    segments = resolved.indexes.segments if strategy == "index" else ()
    is_adaptive = strategy == "index" and has_condition
    template = _template(strategy, has_condition=has_condition or force_exact)
    is_single = len(operation.embeddings) == 1
    form = _Form(
        resolved.tables,
        resolved.space,
        resolved.dimension or 0,
        resolved.indexes if strategy == "index" else ReadyIndexes(),
        operation.n_results,
        columns_of(operation.include, resolved),
        is_single,
        is_adaptive,
        has_ids=bool(operation.ids),
    )
    text = _text(template, form, text_of(condition))
    given = (
        pack_vector(operation.embeddings[0])
        if is_single
        else pack_vectors(operation.embeddings, None, context.vector_oid)
    )
    settings = _settings(resolved, operation.n_results, is_adaptive) if segments else ()
    # Where ids are looked for record by record, that takes a hash table of them.
    reuses_plan = can_reuse_plan(operation.filter, resolved.indexes.secondary) and not (
        is_adaptive and operation.ids is not None
    )
    return PreparedQuery(
        strategy,
        is_adaptive,
        segments,
        (*settings, *time_bound(operation.filter, context)),
        Statement(text, parameters | {"queries": given}, reuses_plan),
        operation.n_results,
        len(operation.embeddings),
    )


def _strategy(operation: QueryRecords, resolved: ResolvedCollection) -> Strategy:
    indexes = resolved.indexes
    wanted = operation.n_results
    if not indexes.segments or wanted * 10 > indexes.entries or wanted > MAX_SEARCHED:
        return "exact"
    has_condition = operation.ids is not None or operation.filter is not None
    bound = exact_scan_limit(indexes)
    if has_condition and (indexes.entries <= bound or wanted > MAX_FILTERED_RESULTS):
        return "exact"
    if operation.ids is not None and len(operation.ids) <= bound:
        return "exact"
    has_halves = any(segment.quantization == "halfvec" for segment in indexes.segments)
    if has_halves and resolved.space != "cosine" and np.abs(operation.embeddings).max() > MAX_HALF:
        return "exact"
    return "index"


def _settings(
    resolved: ResolvedCollection, wanted: int, is_adaptive: bool
) -> tuple[Statement, ...]:
    # Dead entries and records that do not match must not make an answer short.
    settings = [
        b"set local hnsw.ef_search = %d"
        % breadth(resolved.indexes, wanted, is_adaptive=is_adaptive),
        b"set local hnsw.iterative_scan = relaxed_order",
    ]
    if is_adaptive:
        settings.append(b"set local hnsw.scan_mem_multiplier = 4")
        # Else it would fill up what is missing with rows it had put aside as too far.
        settings.append(b"set local hnsw.max_scan_tuples = 1000000")
    if is_adaptive or (resolved.dimension or 0) > MAX_PLAIN_DIMENSION:
        # The planner cannot know that a condition which few records seem to meet is met by more
        # than the bound: it would rather sort all records than take them in the index's order.
        # Nor does it see that long embeddings lie elsewhere and are dear to read.
        settings.append(b"set local enable_sort = off")
        # Before PostgreSQL 18 a sort that is switched off counts as so dear that it were worth
        # compiling the statement, which takes longer than to run it.
        settings.append(b"set local jit = off")
    return tuple(Statement(text) for text in settings)


def _template(strategy: Strategy, *, has_condition: bool) -> LiteralString:
    if strategy == "index":
        return _ADAPTIVE if has_condition else _SEARCHED
    return _MATCHING if has_condition else _ALL


@dataclass(frozen=True, slots=True)
class _Form:
    """All that a query's statement hangs on but its condition.

    One query alone stands in the statement as a parameter: PostgreSQL then makes one plan for
    all times. Several come as an array, each with a search of its own.
    """

    tables: CollectionTables
    space: Space
    dimension: int
    indexes: ReadyIndexes
    limit: int
    columns: tuple[str, ...]
    is_single: bool
    is_adaptive: bool
    has_ids: bool

    def clauses(self, condition: bytes) -> dict[str, bytes]:
        """Compose every clause of the templates."""
        distance: LiteralString = _DISTANCES[self.space]
        queries: LiteralString = _ONE_QUERY if self.is_single else _QUERIES
        clauses: dict[str, sql.Composable] = {
            "queries": sql.SQL(queries),
            "distance": sql.SQL(distance),
            "limit": sql.Literal(self.limit),
            "condition": ComposedSQL(condition),
            "missing": _missing(self.tables) if self.has_ids else sql.SQL("null"),
        }
        if self.indexes.segments:
            clauses["bound"] = sql.Literal(exact_scan_limit(self.indexes))
            branches = self._branches(ComposedSQL(condition))
            clauses["branches"] = sql.SQL("\nunion all\n").join(branches)
        return {name: text_of(clause) for name, clause in clauses.items()}

    def _branches(self, condition: sql.Composable) -> list[sql.Composable]:
        segments = self.indexes.segments
        found = [self._searched(condition, segment) for segment in segments]
        found += [
            self._branch(_TAIL, condition, within("v.pos", *bounds))
            for bounds in ranges_without(segments)
        ]
        if self.space == "cosine":
            bounds = [within("v.pos", each.first_pos, each.end_pos) for each in segments]
            covered = sql.SQL("({})").format(sql.SQL(" or ").join(bounds))
            found.append(self._branch(_ZEROS, condition, covered))
        return found

    def _searched(self, condition: sql.Composable, segment: Segment) -> sql.Composable:
        count = candidates(segment.quantization, self.limit, self.indexes.ef_search)
        if self.is_adaptive:
            count = max(count, self.indexes.ef_search)
        range = within("v.pos", segment.first_pos, segment.end_pos)
        if self.space == "cosine" and segment.quantization == "bit":
            # Bits have zeros like all others; they are found by the index they have of their own.
            range = sql.SQL("{} and vector_norm(v.embedding) > 0").format(range)
        reliable = RELIABLE * breadth(self.indexes, self.limit, is_adaptive=self.is_adaptive)
        return self._branch(
            _GATED_BRANCH if self.is_adaptive else _SEARCHED_BRANCH,
            condition,
            range,
            order_by_distance=order_by_distance(self.space, segment.quantization, self.dimension),
            count=sql.Literal(count),
            reliable=sql.Literal(reliable),
        )

    def _branch(
        self,
        template: LiteralString,
        condition: sql.Composable,
        range: sql.Composable,
        **parts: sql.Composable,
    ) -> sql.Composable:
        distance: LiteralString = _DISTANCES[self.space]
        gate: LiteralString = "(select is_searched from gate) and " if self.is_adaptive else ""
        joined: sql.Composable = sql.SQL("")
        if self.is_adaptive:
            joined = sql.SQL(_PROBED).format(records=self.tables.records, condition=condition)
        return sql.SQL(template).format(
            vectors=self.tables.vectors,
            distance=sql.SQL(distance),
            gate=sql.SQL(gate),
            joined=joined,
            range=range,
            limit=sql.Literal(self.limit),
            **parts,
        )


def _text(template: LiteralString, form: _Form, condition: bytes) -> bytes:
    # As with other statements; this one takes longer to compose than a small one to run.
    is_short = len(condition) <= MAX_CACHED_BYTES
    return (_remembered_text if is_short else _compose_text)(template, form, condition)


def _compose_text(template: LiteralString, form: _Form, condition: bytes) -> bytes:
    return compose(template, form.tables, form.columns, **form.clauses(condition))


_remembered_text = lru_cache(maxsize=4096)(_compose_text)


def _shape(
    rows: Rows, operation: QueryRecords, resolved: ResolvedCollection
) -> list[QueriedRecords]:
    columns = columns_of(operation.include, resolved)
    groups: list[list[Sequence[Any]]] = [[] for _ in operation.embeddings]
    for row in rows:
        if row[_DISTANCE] is not None:
            groups[row[_QUERY] - 1].append(row)
    return [
        QueriedRecords(
            shape([row[_ID:] for row in group], columns, operation.include, resolved),
            [row[_DISTANCE] for row in group],
        )
        for group in groups
    ]


_QUERY, _DISTANCE, _IS_SEARCHED, _MISSING, _ID = range(5)
"""Where these stand in a row of a query's answer; the columns asked for follow the id."""

# Chroma's distances are float32: as such they are returned, and as such they are equal.
_DISTANCES: Final[dict[str, LiteralString]] = {
    "l2": "vector_l2_squared_distance(v.embedding, q.embedding)::real",
    "ip": "(1 + (v.embedding <#> q.embedding))::real",
    # A zero vector has no direction: pgvector says NaN, Chroma says as far as a right angle.
    "cosine": "coalesce(nullif(v.embedding <=> q.embedding, 'NaN'), 1)::real",
}

_QUERIES: LiteralString = (
    "unnest(%(queries)b::vector[]) with ordinality as q (embedding, n) cross join lateral"
)
_ONE_QUERY: LiteralString = (
    "(select %(queries)b::vector as embedding, 1::bigint as n) as q cross join lateral"
)

# Looked for once, in the same snapshot as the records.
_MISSING_IDS: LiteralString = """array(
    select given.id
    from unnest(%(ids)b::text[]) with ordinality as given (id, n)
    where not exists (select from {records} as r where r.id = given.id)
    order by given.n
    limit {limit}
)"""

_ALL: LiteralString = """
select q.n, v.distance, false, {missing}, {columns}
from {queries} (
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    order by distance, v.seq
    limit {limit}
) as v
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by q.n, v.distance, v.seq
"""

_MATCHING: LiteralString = """
with matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition}
)
select q.n, v.distance, false, {missing}, {columns}
from {queries} (
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    where v.pos = any(array(select pos from matching))
    order by distance, v.seq
    limit {limit}
) as v
join {records} as r on r.seq = v.seq
order by q.n, v.distance, v.seq
"""

_SEARCHED: LiteralString = """
select q.n, v.distance, true, {missing}, {columns}
from {queries} (
    select * from (
        {branches}
    ) as v
    order by v.distance, v.seq
    limit {limit}
) as v
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by q.n, v.distance, v.seq
"""

# The gate's row comes back even if nothing is found: it says what was not found how.
_ADAPTIVE: LiteralString = """
with matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition} limit {bound} + 1
),
gate as materialized (
    select count(*) > {bound} as is_searched, array_agg(pos) as positions from matching
)
select v.n, v.distance, g.is_searched, {missing}, {columns}
from gate as g
left join (
    select q.n, v.*
    from {queries} (
        select * from (
            (
                select v.pos, v.seq, v.embedding, {distance} as distance
                from {vectors} as v
                where not (select is_searched from gate)
                    and v.pos = any((select positions from gate)::bigint[])
                order by distance, v.seq
                limit {limit}
            )
            union all
            {branches}
        ) as v
        order by v.distance, v.seq
        limit {limit}
    ) as v
) as v on true
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by v.n, v.distance, v.seq
"""

_SEARCHED_BRANCH: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {gate} {range}
    order by {order_by_distance}
    limit {count}
)"""

_GATED_BRANCH: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from (
        select v.pos, v.seq, v.embedding
        from {vectors} as v
        where {gate} {range}
        order by {order_by_distance}
        limit {reliable}
    ) as v
    {joined}
    limit {count}
)"""

_TAIL: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {gate} {range}
    order by distance, v.seq
    limit {limit}
)"""

# HNSW has no place for a vector without a direction. An index of its own has all of them.
_ZEROS: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {gate} vector_norm(v.embedding) = 0 and {range}
    order by v.seq
    limit {limit}
)"""

# Looked up for one row of the log after the other, of an index in its order; `offset 0` keeps it
# so. A join would test all records there are for the few in the tail.
_PROBED: LiteralString = """cross join lateral (
        select from {records} as r
        where r.seq = v.seq and r.pos = v.pos and {condition}
        offset 0
    ) as r"""
