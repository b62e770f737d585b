"""The SQL of a search with a rank expression, and of its groups.

Each search by a vector that the expression contains is a relation of its own. The records that any
of them found are joined with all of them, scored, grouped, sorted and cut to a page. Only of the
page are columns of records read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import sql

from pgchroma.model.search.parsed import SCORE, Grouping, ParsedSearch
from pgchroma.model.search.ranking import Ranking
from pgchroma.store.conditions.condition import Condition
from pgchroma.store.encoding.vectors import pack_vector
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.records.columns import selected
from pgchroma.store.records.reads import EMBEDDINGS
from pgchroma.store.running.steps import ComposedSQL, Statement, render
from pgchroma.store.search.nearest import CHOICE, MATCHING
from pgchroma.store.search.planner import NearestPlan
from pgchroma.store.search.scores import compile_ranking

__all__ = ("FIRST_COLUMN", "IS_COMPLETE", "SCORE_COLUMN", "PlannedLeaf", "ranked_statement")

IS_COMPLETE, SCORE_COLUMN, FIRST_COLUMN = range(3)
"""Positions in a row: whether all searches found what they had to, the record's score, and the
first column of the record, its id. A row without an id belongs to no record."""


@dataclass(frozen=True, slots=True)
class PlannedLeaf:
    """One search by a vector of a rank expression, and how it is executed."""

    query: Any
    plan: NearestPlan


def ranked_statement(
    search: ParsedSearch,
    ranking: Ranking,
    leaves: Sequence[PlannedLeaf],
    tables: CollectionTables,
    condition: Condition,
    columns: tuple[str, ...],
) -> Statement:
    """Return the statement of a search.

    Args:
        search: The search.
        ranking: Its rank expression, with at least one search by a vector.
        leaves: These searches, in the order in which they are written.
        tables: The collection's tables.
        condition: The condition of the search's filter.
        columns: The columns of records to return.
    """
    compiled = compile_ranking(ranking)
    names = range(len(leaves))
    grouping = _Groups.of(search.grouping)
    embeddings: LiteralString = EMBEDDINGS if "embeddings" in columns else ""
    text = render(
        _STATEMENT,
        relations=_relations(leaves, tables, condition),
        found=_raw(" union ".join(_FOUND.format(name=name) for name in names)),
        joined=_raw("\n".join(_JOINED.format(name=name) for name in names)),
        columns=_raw(compiled.columns),
        score=_raw(compiled.score),
        support=_raw(compiled.support or "false"),
        kept=grouping.compose(tables),
        rank=sql.SQL(_RANK),
        is_complete=sql.SQL(" and ").join(map(_completeness, names, leaves)),
        records=tables.records,
        selected=selected(columns),
        embeddings=sql.SQL(embeddings).format(vectors=tables.vectors),
    )
    parameters = {
        **{f"q{name}": pack_vector(leaf.query) for name, leaf in zip(names, leaves, strict=True)},
        **compiled.constants,
        **grouping.parameters,
        "page_limit": search.limit,
        "page_offset": search.offset,
    }
    return condition.statement(text, parameters)


def _relations(
    leaves: Sequence[PlannedLeaf], tables: CollectionTables, condition: Condition
) -> sql.Composable:
    shapes = [leaf.plan.shape for leaf in leaves]
    relations: list[sql.Composable] = []
    if any(shape.has_condition for shape in shapes):
        adaptive = [shape for shape in shapes if shape.is_adaptive]
        bound = sql.Literal(max((shape.exact_limit for shape in adaptive), default=0))
        # A search that reads all matching records exactly needs all of their positions.
        limited = sql.SQL(" limit {} + 1").format(bound)
        is_limited = all(shape.is_adaptive for shape in shapes)
        relations.append(
            sql.SQL(MATCHING).format(
                records=tables.records,
                condition=condition.sql,
                bound=limited if is_limited else sql.SQL(""),
            )
        )
        if adaptive:
            relations.append(sql.SQL(CHOICE).format(bound=bound))
    relations += [
        sql.SQL(_LEAF).format(
            name=_raw(f"leaf{name}"),
            query=_raw(f"%(q{name})b"),
            nearest=shape.compose(condition.sql),
            records=tables.records,
        )
        for name, shape in enumerate(shapes)
    ]
    return sql.SQL(",\n").join(relations)


def _completeness(name: int, leaf: PlannedLeaf) -> sql.Composable:
    """Compose whether a search found what it had to.

    It did not if a row of vectors belongs to no record, or if an index returned too few.
    """
    is_found: LiteralString = "count(*) >= {limit}"
    if leaf.plan.shape.is_adaptive:
        is_found = "(not (select is_searched from choice) or count(*) >= {limit})"
    elif leaf.plan.strategy == "exact":
        is_found = "true"
    return sql.SQL("(select coalesce(bool_and(is_live), true) and {found} from {leaf})").format(
        found=sql.SQL(is_found).format(limit=sql.Literal(leaf.plan.shape.limit)),
        leaf=_raw(f"leaf{name}"),
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """The SQL of a grouping, or of none.

    Attributes:
        parameters: The metadata keys.
    """

    grouping: Grouping | None
    names: dict[str, str]

    @classmethod
    def of(cls, grouping: Grouping | None) -> _Groups:
        keys = (*grouping.keys, *grouping.order) if grouping else ()
        metadata_keys = dict.fromkeys(key for key in keys if key != SCORE)
        return cls(grouping, {key: f"g{index}" for index, key in enumerate(metadata_keys)})

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: key for key, name in self.names.items()}

    def compose(self, tables: CollectionTables) -> sql.Composable:
        """Compose the scored records that are kept: ``(seq, score)``."""
        if self.grouping is None:
            return _raw("scored")
        direction = " desc nulls last" if self.grouping.is_descending else " asc nulls first"
        partition = [part for key in self.grouping.keys for part in _identity(self.names[key])]
        order = [
            part + direction
            for key in self.grouping.order
            for part in (["s.score"] if key == SCORE else _order(self.names[key]))
        ]
        return sql.SQL(_GROUPED).format(
            records=tables.records,
            values=_raw("\n".join(_VALUE.format(name=name) for name in self.names.values())),
            partition=_raw(", ".join(partition)),
            order=_raw(", ".join(order)),
            rank=sql.SQL(_RANK),
            k=sql.Literal(self.grouping.k),
        )


def _identity(name: str) -> list[str]:
    # jsonb holds 1 and 1.0 to be equal, and the kind tells them apart.
    return [f"{name}.kind", f"{name}.value"]


def _order(name: str) -> list[str]:
    """Return what a metadata value is sorted by: its kind, then its value among its kind."""
    return [f"{name}.kind", *(part.format(name=name) for part in _SORTED)]


def _raw(text: str) -> ComposedSQL:
    return ComposedSQL(text.encode())


_FOUND: Final = "select seq from leaf{name}"
_JOINED: Final = "left join leaf{name} as k{name} on k{name}.seq = n.seq"

_LEAF: LiteralString = """{name} as materialized (
    select f.seq, f.value, f.is_live,
        (row_number() over (order by f.value, f.seq) - 1)::real as place
    from (
        select v.seq, v.distance as value, r.seq is not null as is_live
        from (select {query}::vector as embedding) as q
        cross join lateral ({nearest}) as v
        left join {records} as r on r.seq = v.seq and r.pos = v.pos
    ) as f
)"""

# Zeros are sorted by their sign, as in Chroma. NaN is last.
_RANK: LiteralString = "s.score, case when s.score = 0 then s.score::text <> '-0' end, s.seq"

# The row of completeness is returned even if nothing is found.
_STATEMENT: LiteralString = """
with {relations},
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
select c.is_complete, s.score, {selected}
from (select {is_complete} as is_complete) as c
left join page as s on true
left join {records} as r on r.seq = s.seq
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
_VALUE: Final = """cross join lateral (
    select r.metadata -> %({name})s::text as value offset 0
) as {name}_value
cross join lateral (
    select {name}_value.value, case jsonb_typeof({name}_value.value)
        when 'boolean' then 1
        when 'number' then 2 + least(strpos({name}_value.value::text, '.'), 1)
        when 'string' then 4
        when 'object' then 5
        when 'array' then 5 + case jsonb_typeof({name}_value.value -> 0)
            when 'boolean' then 1
            when 'number' then 2 + least(strpos(({name}_value.value -> 0)::text, '.'), 1)
            when 'string' then 4
            else 0
        end
        else 0
    end as kind
    offset 0
) as {name}"""

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
