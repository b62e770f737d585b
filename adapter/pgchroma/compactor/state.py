"""The state of a collection's indexes, as the compactor reads it and as it should become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.hnsw import HnswConfiguration, Quantization
from pgchroma.store.encoding.sparse import BLOCK_SLOTS
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.layout.segments import (
    build_memory_per_row,
    effective_quantization,
)
from pgchroma.store.layout.tables import CollectionTables

__all__ = (
    "BlockState",
    "Build",
    "IndexSpec",
    "Inspection",
    "SegmentRow",
    "SparseAction",
    "SparseState",
    "SparseStep",
    "TrackedCollection",
    "Updates",
)

MAX_COUNT_ROWS: Final = 64
"""A collection's table of counts is merged into one row when it has more rows."""

PROVISIONAL_NEIGHBORS: Final = 8
PROVISIONAL_EF_CONSTRUCTION: Final = 40
"""The parameters of provisional segments, unless those of the collection are smaller."""


class IndexSpec(NamedTuple):
    """The parameters that a segment's index is built with."""

    quantization: Quantization
    max_neighbors: int
    ef_construction: int


@dataclass(frozen=True, slots=True)
class TrackedCollection:
    """A collection with one of its tables of embeddings, as the compactor sees it.

    Attributes:
        dimension: `None` until the collection has embeddings.
        tenant: The tenant that the collection belongs to.
        role: The tenant's role, if it owns the tables. Triggers, policies and functions that a
            tenant attached to its tables must not run with more privileges than the tenant has.
        waiting: An upper bound of the number of embeddings that no segment covers.
        has_leftovers: Whether its segments and secondary indexes differ from those in the catalog,
            as after a compactor was killed; or whether an index can be built that could not be
            built before.
        is_behind: Whether its log goes further than when the last pass began.
        has_stale: Whether segments were built with parameters that it does not accept.
    """

    tables: CollectionTables
    name: str
    configuration: CollectionConfiguration
    dimension: int | None
    tenant: str
    role: str | None
    waiting: int
    has_leftovers: bool
    is_behind: bool
    has_stale: bool = False

    @property
    def id(self) -> UUID:
        """The collection's id."""
        return self.tables.id

    @property
    def key(self) -> dict[str, Any]:
        """The parameters that select the segments of its table of embeddings."""
        return {"id": self.tables.id, "generation": self.tables.generation}

    @property
    def hnsw(self) -> HnswConfiguration:
        """The configuration of its indexes."""
        return self.configuration.hnsw

    @property
    def quantization(self) -> Quantization:
        """The form in which its indexes store embeddings."""
        hnsw = self.hnsw
        return effective_quantization(hnsw.quantization, self.dimension or 0, hnsw.space)

    @property
    def index_spec(self) -> IndexSpec:
        """The parameters for building its segments' indexes."""
        return IndexSpec(self.quantization, self.hnsw.max_neighbors, self.hnsw.ef_construction)

    @property
    def provisional_spec(self) -> IndexSpec:
        """The parameters for building the indexes of provisional segments.

        They differ from those of other segments, by which provisional segments are known.
        """
        spec = self.index_spec
        return IndexSpec(
            spec.quantization,
            min(spec.max_neighbors, PROVISIONAL_NEIGHBORS),
            min(spec.ef_construction - 1, PROVISIONAL_EF_CONSTRUCTION),
        )

    def accepts(self, spec: IndexSpec) -> bool:
        """Whether a segment that was built with these parameters does not have to be rebuilt.

        Indexes of whole embeddings stay, if the collection does not require a shorter form.
        """
        is_whole = self.hnsw.quantization is None and spec.quantization == "none"
        wanted = self.index_spec
        return spec == (wanted._replace(quantization="none") if is_whole else wanted)

    @property
    def memory_per_row(self) -> int:
        """An estimate of the bytes that building an index takes for each embedding."""
        return build_memory_per_row(self.dimension or 0, self.quantization, self.hnsw.max_neighbors)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as the catalog has it.

    Attributes:
        entries: How many embeddings the index had when it was built.
        live: How many embeddings are in its range; `None` if they were not counted.
    """

    id: int
    first_pos: int
    end_pos: int
    index_name: str
    entries: int
    is_ready: bool
    spec: IndexSpec
    live: int | None = None

    @property
    def rows(self) -> int:
        """The number of embeddings in its range, as far as it is known."""
        return self.entries if self.live is None else self.live


@dataclass(frozen=True, slots=True)
class Build:
    """A segment to build.

    Attributes:
        rows: The approximate number of embeddings in its range.
        limit: How many of them a provisional segment takes at most, beginning at the first;
            `None` for any other segment.
    """

    first_pos: int
    end_pos: int
    rows: int
    limit: int | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether the segment is to be replaced after the burst."""
        return self.limit is not None


@dataclass(frozen=True, slots=True)
class Updates:
    """How the records of a collection were updated since PostgreSQL's statistics began.

    Attributes:
        fillfactor: How full inserts make the pages of records, in per cent.
        updated: How many updates there were.
        hot: How many of them needed no new entries in indexes.
        moved: How many of them put the new version into another page.
    """

    fillfactor: int
    updated: int
    hot: int
    moved: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The segments, indexes and row counts of a collection at one time.

    Attributes:
        segments: All of the catalog's segments, in the order of their positions.
        valid: The names of all of its indexes that PostgreSQL can use.
        invalid: The names of those that it cannot use.
        tail: How many embeddings are after the last segment.
        end_pos: A position after all of them.
        secondary: The secondary indexes in the catalog, and whether each is ready.
        demand: How often filters missed each secondary index.
        records: How many records the collection has.
        gaps: Ranges before the tail that have embeddings and no segment, because another session
            dropped the index.
    """

    segments: tuple[SegmentRow, ...] = ()
    valid: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()
    tail: int = 0
    end_pos: int = 1
    secondary: Mapping[SecondaryIndex, bool] = field(default_factory=dict)
    demand: Mapping[SecondaryIndex, int] = field(default_factory=dict)
    records: int = 0
    gaps: tuple[Build, ...] = ()

    @property
    def ready(self) -> list[SegmentRow]:
        """The segments whose indexes queries use."""
        return [segment for segment in self.segments if segment.is_ready]

    @property
    def embeddings(self) -> int:
        """The number of rows of the table of embeddings."""
        in_segments = sum(segment.rows for segment in self.ready)
        return in_segments + self.tail + sum(gap.rows for gap in self.gaps)

    @property
    def tail_start(self) -> int:
        """The position at which the tail starts."""
        return max((segment.end_pos for segment in self.ready), default=1)


MAX_BLOCK_BYTES: Final = 32 << 20
"""The vectors of a block have no more bytes than this, unless there is only one."""


class BlockState(NamedTuple):
    """A block of sparse vectors.

    Attributes:
        vectors: How many vectors it was built of.
        removed: How many of them were removed from it.
        size: The bytes of the vectors that it was built of.
    """

    block: int
    vectors: int
    removed: int
    size: int

    @property
    def fill(self) -> float:
        """The fraction of a full block that its vectors would need."""
        used = max(self.vectors / BLOCK_SLOTS, self.size / MAX_BLOCK_BYTES)
        return used * (1 - self.removed / max(self.vectors, 1))


@dataclass(frozen=True, slots=True)
class SparseState:
    """The sparse vectors under a key at one time.

    Attributes:
        added: How many added vectors could be in a block and are in none.
        removed: How many vectors were removed, and are not masked yet.
        blocks: The blocks.
    """

    added: int
    removed: int
    blocks: tuple[BlockState, ...]


SparseAction: TypeAlias = Literal["build", "remove", "merge"]
"""Build a block of added vectors, remove vectors from blocks, or merge blocks."""


@dataclass(frozen=True, slots=True)
class SparseStep:
    """What to do next with the sparse vectors under a key.

    Attributes:
        action: The action.
        blocks: The blocks to merge.
    """

    action: SparseAction
    blocks: tuple[int, ...] = ()
