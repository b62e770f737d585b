"""The SQL of a search with a rank expression, and of its groups.

Each search by a vector that the expression contains is a relation of its own. The records that any
of them found are joined with all of them, scored, grouped, sorted and cut to a page. Only of the
page are columns of records read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString

from psycopg import sql

from pgchroma.model.fields import SCORE
from pgchroma.model.search.parsed import Grouping, ParsedSearch
from pgchroma.model.search.ranking import Ranking
from pgchroma.store.conditions.condition import Condition
from pgchroma.store.encoding.sparse import PART_DIMENSION
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.records.columns import MAX_CACHED_BYTES, selected
from pgchroma.store.records.reads import EMBEDDINGS
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import ComposedSQL, Statement, composed, render, text_of
from pgchroma.store.search.leaves import Leaf, LeafShape, matching_relations
from pgchroma.store.search.record_joins import are_few, join_records
from pgchroma.store.search.scores import RankingSQL, compile_ranking
from pgchroma.store.search.sparse import SparseShape

__all__ = ("FIRST_COLUMN", "IS_BROAD", "IS_COMPLETE", "SCORE_COLUMN", "ranked_statement")

IS_COMPLETE, IS_BROAD, SCORE_COLUMN, FIRST_COLUMN = range(4)
"""Positions in a row: whether all searches found what they had to, whether the condition's index
found too many records, the record's score, and the first column of the record, its id. A row
without an id belongs to no record."""


def ranked_statement(
    search: ParsedSearch,
    ranking: Ranking,
    leaves: Sequence[Leaf],
    resolved: ResolvedCollection,
    condition: Condition,
    columns: tuple[str, ...],
) -> Statement:
    """Return the statement of a search.

    Args:
        search: The search.
        ranking: Its rank expression, with at least one search by a vector.
        leaves: These searches, in the order in which they are written.
        resolved: The collection.
        condition: The condition of the search's filter.
        columns: The columns of records to return.
    """
    compiled, constants = compile_ranking(ranking)
    groups = _Groups(search.grouping, tuple(resolved.filterable.sparse_numbers().items()))
    shapes = tuple(leaf.shape for leaf in leaves)
    shape = _SearchShape(resolved.tables, columns, compiled, shapes, groups, are_few(search.limit))
    parameters: dict[str, Any] = {
        **constants,
        **{name: key for key, name in groups.names().items()},
        "page_limit": search.limit,
        "page_offset": search.offset,
    }
    for name, leaf in enumerate(leaves):
        parameters |= leaf.parameters(name)
    text = shape.text(condition.sql)
    if all(isinstance(leaf, SparseShape) for leaf in shapes):
        return condition.bounded_statement(text, parameters)
    return condition.statement(text, parameters)


@dataclass(frozen=True, slots=True)
class _Groups:
    """The SQL of a grouping, or of none.

    Attributes:
        grouping: The grouping.
        sparse: The keys of sparse vectors, and the numbers of their tables.
    """

    grouping: Grouping | None
    sparse: tuple[tuple[str, int], ...]

    def names(self) -> dict[str, str]:
        """Return the names of relations and placeholders, by metadata key."""
        if self.grouping is None:
            return {}
        keys = dict.fromkeys((*self.grouping.keys, *self.grouping.order))
        return {key: f"g{index}" for index, key in enumerate(key for key in keys if key != SCORE)}

    def compose(self, tables: CollectionTables) -> sql.Composable:
        """Compose the scored records that are kept: ``(seq, score)``."""
        if self.grouping is None:
            return composed("scored")
        names, numbers = self.names(), dict(self.sparse)
        direction = " desc nulls last" if self.grouping.is_descending else " asc nulls first"
        partition = [part for key in self.grouping.keys for part in _identity(names[key])]
        order = [
            part + direction
            for key in self.grouping.order
            for part in (["s.score"] if key == SCORE else _order(names[key]))
        ]
        return sql.SQL(_GROUPED).format(
            records=tables.records,
            values=sql.SQL("\n").join(
                sql.SQL(_VALUE).format(
                    name=sql.Identifier(name),
                    given=sql.Identifier(f"{name}_value"),
                    value=_value(name, tables, numbers.get(key)),
                )
                for key, name in names.items()
            ),
            partition=composed(", ".join(partition)),
            order=composed(", ".join(order)),
            rank=sql.SQL(_RANK),
            k=sql.Literal(self.grouping.k),
        )


@dataclass(frozen=True, slots=True)
class _SearchShape:
    """Everything that a search's text depends on, except its condition.

    Attributes:
        columns: The columns of records to return.
        ranking: The SQL of the rank expression.
        leaves: The shapes of its searches by vectors.
        groups: The SQL of the grouping.
        is_short_page: Whether few records are returned.
    """

    tables: CollectionTables
    columns: tuple[str, ...]
    ranking: RankingSQL
    leaves: tuple[LeafShape, ...]
    groups: _Groups
    is_short_page: bool

    def text(self, condition: ComposedSQL) -> bytes:
        """Return the statement's text with a condition on records ``r``."""
        # Composing it takes up to a millisecond.
        clause = text_of(condition)
        is_short = len(clause) <= MAX_CACHED_BYTES and self._is_short()
        return (_cached_text if is_short else _compose_text)(self, clause)

    def _is_short(self) -> bool:
        parts = len(self.leaves) + len(self.groups.names())
        return parts <= _MAX_CACHED_PARTS and len(self.ranking.columns) <= _MAX_CACHED_RANKING


def _compose_text(shape: _SearchShape, clause: bytes) -> bytes:
    tables, condition = shape.tables, ComposedSQL(clause)
    names = range(len(shape.leaves))
    leaves = [leaf.compose(name, tables, condition) for name, leaf in enumerate(shape.leaves)]
    embeddings: LiteralString = EMBEDDINGS if "embeddings" in shape.columns else ""
    return render(
        _STATEMENT,
        relations=sql.SQL(",\n").join(
            [*matching_relations(shape.leaves, tables, condition), *leaves]
        ),
        found=composed(" union ".join(_FOUND.format(name=name) for name in names)),
        joined=composed("\n".join(_JOINED.format(name=name) for name in names)),
        columns=composed(shape.ranking.columns),
        score=composed(shape.ranking.score),
        support=composed(shape.ranking.support or "false"),
        kept=shape.groups.compose(tables),
        rank=sql.SQL(_RANK),
        is_broad=sql.SQL(" or ").join(
            leaf.is_broad(name) for name, leaf in enumerate(shape.leaves)
        ),
        is_complete=sql.SQL(" and ").join(
            leaf.is_complete(name) for name, leaf in enumerate(shape.leaves)
        ),
        record=join_records(tables, "r.seq = s.seq", are_few=shape.is_short_page),
        selected=selected(shape.columns, tables),
        embeddings=sql.SQL(embeddings).format(vectors=tables.vectors),
    )


# Longer texts would fill the memory.
_MAX_CACHED_PARTS: Final = 8
_MAX_CACHED_RANKING: Final = 10_000

_cached_text = lru_cache(maxsize=512)(_compose_text)


def _value(name: str, tables: CollectionTables, number: int | None) -> sql.Composable:
    """Compose a record's metadata value; with a number, it may be in that table."""
    placeholder = sql.Placeholder(name)
    if number is None:
        return sql.SQL(_PLAIN).format(key=placeholder)
    sparse = tables.sparse(number)
    return sql.SQL(_SPARSE).format(
        key=placeholder,
        table=sparse.vectors,
        column=sparse.column,
        size=sql.Literal(PART_DIMENSION),
    )


def _identity(name: str) -> list[str]:
    # jsonb holds 1 and 1.0 to be equal, and the kind tells them apart.
    return [f"{name}.kind", f"{name}.value"]


def _order(name: str) -> list[str]:
    """Return what a metadata value is sorted by: its kind, then its value among its kind."""
    return [f"{name}.kind", *(part.format(name=name) for part in _SORTED)]


_FOUND: Final = "select seq from leaf{name}"
_JOINED: Final = "left join leaf{name} as k{name} on k{name}.seq = n.seq"

# Zeros are sorted by their sign, as in Chroma. NaN is last.
_RANK: LiteralString = "s.score, case when s.score = 0 then s.score::text <> '-0' end, s.seq"

# The row of completeness is returned even if nothing is found.
_STATEMENT: LiteralString = """
with recursive {relations},
scored as (
    select n.seq, ({score})::real as score
    from ({found}) as n
    {joined}
    {columns}
    where {support}
),
page as (
    select s.seq, s.score, row_number() over (order by {rank}) as n
    from {kept} as s
    order by n
    limit %(page_limit)s::bigint offset %(page_offset)s::bigint
)
select c.is_complete, c.is_broad, s.score, {selected}
from (select {is_complete} as is_complete, {is_broad} as is_broad) as c
left join page as s on true
{record}
{embeddings}
order by s.n
"""

_GROUPED: LiteralString = """(
    select s.seq, s.score
    from (
        select s.seq, s.score, row_number() over (
            partition by {partition} order by {order}, {rank}
        ) as n
        from scored as s
        join {records} as r on r.seq = s.seq
        {values}
    ) as s
    where s.n <= {k}
)"""

# Kinds of values in Chroma's order: none, bool, int, float, text, sparse vector, lists of scalars.
_VALUE: LiteralString = """cross join lateral (
    select {value} as value offset 0
) as {given}
cross join lateral (
    select {given}.value, case jsonb_typeof({given}.value)
        when 'boolean' then 1
        when 'number' then 2 + least(strpos({given}.value::text, '.'), 1)
        when 'string' then 4
        when 'object' then 5
        when 'array' then 5 + case jsonb_typeof({given}.value -> 0)
            when 'boolean' then 1
            when 'number' then 2 + least(strpos(({given}.value -> 0)::text, '.'), 1)
            when 'string' then 4
            else 0
        end
        else 0
    end as kind
    offset 0
) as {name}"""

# The labels of a sparse vector do not matter.
_PLAIN: LiteralString = """case jsonb_typeof(r.metadata -> {key}::text)
        when 'object' then (r.metadata -> {key}::text) - 'tokens'
        else r.metadata -> {key}::text
    end"""

# A sparse vector that has an index is not in the metadata.
_SPARSE: LiteralString = """coalesce(
    r.metadata -> {key}::text,
    (
        select coalesce(e.given - 'tokens', (
            select jsonb_build_object(
                '#type', 'sparse_vector',
                'indices', coalesce(jsonb_agg(t.index order by t.index), '[]'),
                'values', coalesce(jsonb_agg(t.value order by t.index), '[]')
            )
            from unnest(array[e.p0::text, e.p1::text, e.p2::text, e.p3::text, e.p4::text])
                with ordinality as p (terms, part)
            cross join lateral string_to_table(
                substring(p.terms from '{{(.+)}}'), ','
            ) as u (term)
            cross join lateral (
                select
                    split_part(u.term, ':', 1)::bigint - 1 + (p.part - 1) * {size} as index,
                    split_part(u.term, ':', 2)::numeric as value
            ) as t
        ))
        from {table} as e where e.pos = r.{column}
    )
)"""

_SORTED: Final = (
    "case when {name}.kind in (2, 3) then ({name}.value #>> '{{}}')::numeric end",
    "case when {name}.kind in (1, 4) then {name}.value #>> '{{}}' end collate \"C\"",
    "case when {name}.kind = 5 then array("
    "select x::numeric from jsonb_array_elements_text({name}.value -> 'indices') as x) end",
    "case when {name}.kind = 5 then array("
    "select x::numeric from jsonb_array_elements_text({name}.value -> 'values') as x) end",
    "case when {name}.kind in (7, 8) then array("
    "select x::numeric from jsonb_array_elements_text({name}.value) as x) end",
    "case when {name}.kind in (6, 9) then array("
    'select x from jsonb_array_elements_text({name}.value) as x) end collate "C"',
)
