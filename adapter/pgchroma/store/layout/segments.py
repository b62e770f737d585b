"""Segments: ranges of a collection's log, each with its own HNSW index.

An index is partial, over the positions from `first_pos` up to but not including `end_pos`.
PostgreSQL adds rows to it that are committed late. Embeddings that no segment covers are scanned.

An index stores the embeddings themselves, or a shorter form of them: half as long (`halfvec`) or
one bit for each dimension. The nearest by a shorter form are only candidates, whose distances are
then computed from the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.model.hnsw import Quantization
from pgchroma.model.types import Space
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, render

__all__ = (
    "Segment",
    "build_memory_per_row",
    "candidates",
    "create_segment",
    "distance",
    "effective_quantization",
    "needs_index",
    "order_by_distance",
    "position_range",
    "ranges_without",
    "segment_prefix",
)

MAX_DIMENSIONS: Final = {"none": 2_000, "halfvec": 4_000, "bit": 64_000}
"""The maximum number of dimensions of an HNSW index, by the form of the embeddings."""

MAX_HALF: Final = 65_504.0
"""The largest value of a half. Its type refuses larger ones, so a query with one is exact."""

_OPERATORS: Final[dict[Space, LiteralString]] = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}

_EXPRESSIONS: Final[dict[Quantization, LiteralString]] = {
    "none": "{embedding}",
    "halfvec": "({embedding}::halfvec({dimension}))",
    "bit": "(binary_quantize({embedding})::bit({dimension}))",
}

# The halves of a very short embedding are zeros, which HNSW cannot store, and those of a very long
# one are refused. Only the direction matters here.
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
        tokens: The tokens of its indexes in memory, the newest first.
    """

    first_pos: int
    end_pos: int
    index_name: str
    entries: int
    quantization: Quantization
    tokens: tuple[str, ...] = ()


def effective_quantization(
    requested: Quantization | None, dimension: int, space: Space
) -> Quantization:
    """Return the form that an index stores: the requested one, or a shorter one if it must.

    If none is requested, it is halves in a cosine space. They are halves of directions, so their
    values are small. In other spaces values may be too large for halves, or so similar that halves
    do not tell them apart.
    """
    forms: tuple[Quantization, ...] = ("none", "halfvec", "bit")
    default: Quantization = "halfvec" if space == "cosine" else "none"
    first = forms.index(requested or default)
    return next(form for form in forms[first:] if dimension <= MAX_DIMENSIONS[form])


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
    """Build a segment's index while others read and write."""
    # pgvector accepts from twice as many candidates as neighbors up to 1,000.
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
        range=position_range("pos", *bounds),
    )
    return Statement(text)


def distance(space: Space) -> sql.SQL:
    """Compose the operator that orders embeddings by their distance."""
    return sql.SQL(_OPERATORS[space])


def order_by_distance(space: Space, quantization: Quantization, dimension: int) -> sql.Composable:
    """Compose the order of an index of embeddings ``v`` for a query ``q``."""
    operator: LiteralString = "<~>" if quantization == "bit" else _OPERATORS[space]
    return sql.SQL("{} " + operator + " {}").format(
        _expression("v.embedding", space, quantization, dimension),
        _expression("q.embedding", space, quantization, dimension),
    )


def candidates(quantization: Quantization, n_results: int, ef_search: int) -> int:
    """Return how many candidates an index has to return so that the nearest are among them."""
    match quantization:
        case "none":
            return n_results
        case "halfvec":
            return n_results + n_results // 10 + 5
        case "bit":
            return max(4 * n_results, ef_search)


def _neighbors(max_neighbors: int) -> int:
    # The range that pgvector accepts for m.
    return min(max(max_neighbors, 2), 100)


def build_memory_per_row(dimension: int, quantization: Quantization, max_neighbors: int) -> int:
    """Estimate the memory that building an index takes for each embedding, in bytes.

    The estimate is fitted to the message of pgvector 0.8 when it runs out of
    ``maintenance_work_mem``: 2,252 bytes at 384 dimensions and 16 neighbors, 3,274 at 48. A
    twentieth is added as a margin.
    """
    value = {"none": 4 * dimension, "halfvec": 2 * dimension, "bit": dimension // 8}[quantization]
    return (value + 8 + 32 * _neighbors(max_neighbors) + 200) * 21 // 20


def needs_index(rows: int, dimension: int, sync_threshold: int, segment_bytes: int) -> bool:
    """Whether there are enough embeddings without an index to build one.

    With fewer, scanning them is as fast as searching an index, and finds everything.
    """
    return rows >= sync_threshold and rows * 4 * dimension >= segment_bytes


def ranges_without(segments: Sequence[Segment]) -> list[tuple[int | None, int | None]]:
    """Return the ranges of positions that no segment covers; `None` means an open end."""
    found: list[tuple[int | None, int | None]] = []
    end: int | None = None
    for segment in sorted(segments, key=lambda segment: segment.first_pos):
        # Positions begin at 1.
        if segment.first_pos > max(end or 0, 1):
            found.append((end, segment.first_pos))
        end = segment.end_pos
    return [*found, (end, None)]


def position_range(column: LiteralString, first: int | None, end: int | None) -> sql.Composable:
    """Compose a condition that matches the positions of a range.

    The bounds are literals, because otherwise the planner could not prove that a partial index
    covers them.
    """
    conditions: list[sql.Composable] = []
    if first is not None:
        conditions.append(sql.SQL(column + " >= {}").format(sql.Literal(first)))
    if end is not None:
        conditions.append(sql.SQL(column + " < {}").format(sql.Literal(end)))
    return sql.SQL(" and ").join(conditions) if conditions else sql.SQL("true")


def segment_prefix(tables: CollectionTables) -> str:
    """Return the prefix of the names of a collection's segments' indexes; a number follows it."""
    return f"vectors_{tables.id.hex}_hnsw_"


def _expression(
    embedding: LiteralString, space: Space, quantization: Quantization, dimension: int
) -> sql.Composable:
    is_direction = space == "cosine" and quantization == "halfvec"
    template: LiteralString = _HALF_DIRECTION if is_direction else _EXPRESSIONS[quantization]
    return sql.SQL(template).format(embedding=sql.SQL(embedding), dimension=sql.Literal(dimension))
