"""A search by words, and its SQL.

The value of a record is 1 minus the BM25 score of its document: the sum, over the words of the
query that it has, of the weight of the word in the document times its inverse document frequency. A
record that has none of the words has no value.

It is a search by a sparse vector with a term for each word; see `pgchroma.store.search.sparse`.
PostgreSQL splits the query into words, in the same statement. Documents that have no vector yet are
weighed as the compactor would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from pgchroma.model.filterable import TextIndex
from pgchroma.model.words import Words
from pgchroma.store.encoding.sparse import PART_DIMENSION
from pgchroma.store.layout.words import TERM, WEIGHT
from pgchroma.store.running.steps import composed
from pgchroma.store.search.leaves import Leaf
from pgchroma.store.search.sparse import SparseShape

__all__ = ("words_leaf",)


def words_leaf(
    query: Words,
    limit: int,
    index: TextIndex,
    *,
    has_condition: bool,
    has_index: bool,
    force_exact: bool,
) -> Leaf:
    """Return a search by words; see `WordsShape`."""
    shape = WordsShape(
        (0,),
        limit,
        index.number,
        has_bm25=True,
        has_condition=has_condition,
        has_index=has_index and has_condition,
        reads_blocks=not force_exact,
        language=index.language,
        average_length=index.average_length,
    )
    return Leaf(shape, {"words": query.text})


@dataclass(frozen=True, slots=True)
class WordsShape(SparseShape):
    """The SQL of a search by words.

    Attributes:
        language: The text search configuration that splits the query into words.
        average_length: The number of words of an average document.
    """

    language: str
    average_length: int

    def _sources(self) -> tuple[LiteralString, LiteralString, LiteralString]:
        return _QUERY, _TAIL, _SHARED

    def _source_parts(self, name: int) -> dict[str, sql.Composable]:
        parts: dict[str, sql.Composable] = {
            "words": composed(f"words{name}"),
            "text": composed(f"%(words{name})b"),
            "language": sql.SQL("{}::regconfig").format(sql.Literal(self.language)),
            "size": sql.Literal(PART_DIMENSION),
            "average_length": sql.Literal(self.average_length),
        }
        parts["term"] = sql.SQL(TERM).format(**parts)
        parts["document_weight"] = sql.SQL(WEIGHT).format(**parts)
        parts["document_vector"] = sql.SQL(_VECTOR).format(**parts)
        return parts


# A word of the query counts once, however often the query has it.
_QUERY: LiteralString = r"""{words} as materialized (
    select
        array_agg(u.lexeme) as lexemes,
        string_agg(
            '''' || replace(replace(u.lexeme, '\', '\\'), '''', '''''') || '''', ' | '
        )::tsquery as any_of
    from unnest(to_tsvector({language}, {text}::text)) as u
),
{query} as materialized (
    select
        (row_number() over ())::int as place, t.term, 1::float8 as weight, 0 as part,
        ('{{' || t.term + 1 || ':1}}/{size}')::sparsevec as only
    from (
        select distinct {term} as term
        from {words} as w
        cross join unnest(w.lexemes) as u (lexeme)
    ) as t
)"""

# The vector of a document, without the words that the query lacks.
_VECTOR: LiteralString = """
        select
            (
                '{{' || string_agg(t.term + 1 || ':' || {document_weight}, ',' order by t.term)
                || '}}/{size}'
            )::sparsevec as p0
        from (
            select u.term, sum(u.times)::float8 as times, u.length::float8 as length
            from (
                select
                    u.lexeme, {term} as term, cardinality(u.positions) as times,
                    sum(cardinality(u.positions)) over () as length
                from unnest(r.lexemes) as u
            ) as u
            where u.lexeme = any(w.lexemes)
            group by u.term, u.length
        ) as t
        offset 0
    """

_TAIL: LiteralString = """{removed} as materialized (
    select c.pos from {changes} as c where c.is_removed
),
{tail} as materialized (
    select c.pos, c.seq, d.p0
    from {words} as w
    cross join (
        select c.pos, c.seq from {changes} as c
        where not c.is_removed and not exists (select from {removed} as d where d.pos = c.pos)
        offset 0
    ) as c
    cross join lateral (
        select r.lexemes from {records} as r
        where r.seq = c.seq and r.{column} = c.pos and r.lexemes @@ w.any_of
        offset 0
    ) as r
    cross join lateral ({document_vector}) as d
)"""

_SHARED: LiteralString = """{shared} as {materialized} (
    select r.seq, d.p0
    from {words} as w
    cross join lateral (
        select r.seq, r.lexemes from {records} as r
        where r.{column} is not null and r.lexemes @@ w.any_of
        offset 0
    ) as r
    cross join lateral ({document_vector}) as d
)"""
