"""Segments: ranges of a collection's log, each with an HNSW index of its own.

An index is partial, over the positions from `first_pos` up to and without `end_pos`; PostgreSQL
itself keeps it right for a row that is committed late. What no segment covers is read row by row.

An index holds the embeddings themselves, or a shorter form of them: half as long (`halfvec`) or a
bit for each dimension. The nearest by a shorter form are only candidates, whose distances are
computed from the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, LiteralString, TypeAlias

from psycopg import sql

from pgchroma.model.types import Space
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, render

__all__ = (
    "Quantization",
    "Segment",
    "build_memory_per_row",
    "candidates",
    "create_segment",
    "distance",
    "effective_quantization",
    "needs_index",
    "order_by_distance",
    "ranges_without",
    "segment_prefix",
    "within",
)

Quantization: TypeAlias = Literal["none", "halfvec", "bit"]

LONGEST: Final = {"none": 2_000, "halfvec": 4_000, "bit": 64_000}
"""The most dimensions of an HNSW index."""

MAX_HALF: Final = 65_504.0
"""What does not fit a half is refused by its type; who asks for more than that reads exactly."""

_OPERATORS: Final[dict[Space, LiteralString]] = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}

_EXPRESSIONS: Final[dict[Quantization, LiteralString]] = {
    "none": "{embedding}",
    "halfvec": "({embedding}::halfvec({dimension}))",
    "bit": "(binary_quantize({embedding})::bit({dimension}))",
}

# The halves of a very short embedding are zeros, which has no place in HNSW, and those of a very
# long one are refused. Only its direction counts here.
_HALF_DIRECTION: Final[LiteralString] = "(l2_normalize({embedding})::halfvec({dimension}))"

_CLASSES: Final[dict[Quantization, dict[Space, LiteralString]]] = {
    "none": {"l2": "vector_l2_ops", "ip": "vector_ip_ops", "cosine": "vector_cosine_ops"},
    "halfvec": {"l2": "halfvec_l2_ops", "ip": "halfvec_ip_ops", "cosine": "halfvec_cosine_ops"},
    "bit": dict.fromkeys(("l2", "ip", "cosine"), "bit_hamming_ops"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment whose index is ready.

    Attributes:
        entries: How many embeddings the index had when it was built.
    """

    first_pos: int
    end_pos: int
    index_name: str
    entries: int
    quantization: Quantization


def effective_quantization(wanted: Quantization | None, dimension: int) -> Quantization:
    """Tell which form an index keeps: the one asked for, or the longest that can be indexed."""
    forms: tuple[Quantization, ...] = ("none", "halfvec", "bit")
    first = 0 if wanted is None else forms.index(wanted)
    return next(form for form in forms[first:] if dimension <= LONGEST[form])


def create_segment(
    tables: CollectionTables,
    index_name: str,
    bounds: tuple[int, int],
    space: Space,
    dimension: int,
    quantization: Quantization,
    *,
    max_neighbors: int,
    ef_construction: int,
) -> Statement:
    """Build a segment's index beside whoever reads and writes."""
    # pgvector takes 2 to 100 neighbours, and from twice as many candidates to a thousand.
    neighbors = _neighbors(max_neighbors)
    text = render(
        "create index concurrently {name} on {vectors} using hnsw ({expression} "
        + _CLASSES[quantization][space]
        + ") with (m = {m}, ef_construction = {ef}) where {range}",
        name=sql.Identifier(index_name),
        vectors=tables.vectors,
        expression=_expression("embedding", space, quantization, dimension),
        m=sql.Literal(neighbors),
        ef=sql.Literal(min(max(ef_construction, 2 * neighbors), 1_000)),
        range=within("pos", *bounds),
    )
    return Statement(text)


def distance(space: Space) -> sql.SQL:
    """Compose the operator that orders embeddings by their distance."""
    return sql.SQL(_OPERATORS[space])


def order_by_distance(space: Space, quantization: Quantization, dimension: int) -> sql.Composable:
    """Compose what an index of embeddings ``v`` is ordered by for a query ``q``."""
    operator: LiteralString = "<~>" if quantization == "bit" else _OPERATORS[space]
    return sql.SQL("{} " + operator + " {}").format(
        _expression("v.embedding", space, quantization, dimension),
        _expression("q.embedding", space, quantization, dimension),
    )


def candidates(quantization: Quantization, wanted: int, ef_search: int) -> int:
    """Tell how many an index is asked for, so that the `wanted` nearest are among them."""
    match quantization:
        case "none":
            return wanted
        case "halfvec":
            return 2 * wanted
        case "bit":
            return max(4 * wanted, ef_search)


def _neighbors(wanted: int) -> int:
    # What pgvector takes for m.
    return min(max(wanted, 2), 100)


def build_memory_per_row(dimension: int, quantization: Quantization, max_neighbors: int) -> int:
    """Estimate the memory that building an index takes for each embedding, in bytes.

    Fitted to what pgvector 0.8 says when it runs out of ``maintenance_work_mem``: 2,252 bytes at
    384 dimensions and 16 neighbours, 3,274 at 48. A twentieth more is left for chance.
    """
    value = {"none": 4 * dimension, "halfvec": 2 * dimension, "bit": dimension // 8}[quantization]
    return (value + 8 + 32 * _neighbors(max_neighbors) + 200) * 21 // 20


def needs_index(rows: int, dimension: int, sync_threshold: int, segment_bytes: int) -> bool:
    """Whether so many embeddings without an index are enough to build one for them.

    Below that, reading them all takes no longer than a search and finds everything.
    """
    return rows >= sync_threshold and rows * 4 * dimension >= segment_bytes


def ranges_without(segments: Sequence[Segment]) -> list[tuple[int | None, int | None]]:
    """List the ranges of positions that no segment covers; None where one has no end."""
    found: list[tuple[int | None, int | None]] = []
    end: int | None = None
    for segment in sorted(segments, key=lambda each: each.first_pos):
        # Positions begin at 1.
        if segment.first_pos > max(end or 0, 1):
            found.append((end, segment.first_pos))
        end = segment.end_pos
    return [*found, (end, None)]


def within(column: LiteralString, first: int | None, end: int | None) -> sql.Composable:
    """Compose a condition that holds for positions of a range.

    Bounds are literals: only so can the planner prove that a partial index covers them.
    """
    conditions: list[sql.Composable] = []
    if first is not None:
        conditions.append(sql.SQL(column + " >= {}").format(sql.Literal(first)))
    if end is not None:
        conditions.append(sql.SQL(column + " < {}").format(sql.Literal(end)))
    return sql.SQL(" and ").join(conditions) if conditions else sql.SQL("true")


def segment_prefix(tables: CollectionTables) -> str:
    """Tell how the names of a collection's segments' indexes begin; a number follows."""
    return f"vectors_{tables.id.hex}_hnsw_"


def _expression(
    embedding: LiteralString, space: Space, quantization: Quantization, dimension: int
) -> sql.Composable:
    is_direction = space == "cosine" and quantization == "halfvec"
    template: LiteralString = _HALF_DIRECTION if is_direction else _EXPRESSIONS[quantization]
    return sql.SQL(template).format(embedding=sql.SQL(embedding), dimension=sql.Literal(dimension))
