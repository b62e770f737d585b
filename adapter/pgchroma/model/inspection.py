"""How far a collection's index is, how a query would run, and how much of the truth it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import shown

__all__ = (
    "MAX_SAMPLED",
    "IndexingStatus",
    "QueryPlan",
    "Recall",
    "SegmentUse",
    "Strategy",
    "check_recall",
)

MAX_SAMPLED: Final = 1_000
"""The most embeddings that one measurement asks for; each is compared with every record."""

Strategy: TypeAlias = Literal["exact", "index"]


@dataclass(frozen=True, slots=True)
class IndexingStatus:
    """How much of a collection's log its indexes cover.

    Embeddings that need no index, since there are few enough to be read each time, count as
    indexed: whoever waits for the progress to be 1 does not wait for ever.

    Attributes:
        num_indexed_ops: Embeddings that a query finds by an index, or that need none.
        num_unindexed_ops: Embeddings that wait for an index; queries read them all.
        total_ops: Both together.
        op_indexing_progress: The part of the work that is done, from 0 to 1; a build that is
            under way counts as far as it is.
        error: What stopped the last attempt to build an index; None if nothing did.
    """

    num_indexed_ops: int
    num_unindexed_ops: int
    total_ops: int
    op_indexing_progress: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """An index that a query searches.

    Attributes:
        index_name: Its name in PostgreSQL.
        first_pos: The log position from which on it has embeddings.
        end_pos: The position before which it ends.
        rows_read: Rows the search took from it.
    """

    index_name: str
    first_pos: int
    end_pos: int
    rows_read: int


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query ran.

    Attributes:
        strategy: ``exact``: distances to all that match; ``index``: the nearest that the
            segments' indexes find, and exact distances to the tail.
        matches: How many records meet the conditions, counted no further than the planner's
            bound; None for a query without conditions.
        segments: The indexes searched.
        tail_rows: Rows of the log behind the segments, all of which were read.
        rows_read: Rows read in all, of every table.
        planning_ms: PostgreSQL's time to plan the statement, in milliseconds.
        execution_ms: PostgreSQL's time to run it, in milliseconds.
        settings: What was set for the statement's transaction.
        sql: The statement.
        plan: PostgreSQL's own account of it, as ``explain (analyze, buffers)`` prints it.
        again: How the query ran a second time, exactly, since the answer of this run was short or
            had embeddings that are no record's; None if this run was all. Its times come on top.
    """

    strategy: Strategy
    matches: int | None
    segments: tuple[SegmentUse, ...]
    tail_rows: int
    rows_read: int
    planning_ms: float
    execution_ms: float
    settings: Mapping[str, str] = field(default_factory=dict)
    sql: str = field(default="", repr=False)
    plan: str = field(default="", repr=False)
    again: QueryPlan | None = None

    def __str__(self) -> str:
        """Tell in a few lines how the query ran; `sql` and `plan` have the rest."""
        matching = "" if self.matches is None else f", {self.matches:,} records match"
        lines = [
            f"{self.strategy}: {self.rows_read:,} rows read{matching}",
            f"planning {self.planning_ms:.1f} ms, execution {self.execution_ms:.1f} ms",
        ]
        for use in self.segments:
            covered = f"log {use.first_pos:,} to {use.end_pos:,}"
            lines.append(f"index {use.index_name} ({covered}): {use.rows_read:,} rows")
        if self.tail_rows:
            lines.append(f"without an index: {self.tail_rows:,} rows")
        if self.settings:
            lines.append(", ".join(f"{name} = {value}" for name, value in self.settings.items()))
        if self.again is not None:
            lines.append("then once more, since that was not complete:")
            lines += [f"  {line}" for line in str(self.again).splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Recall:
    """What part of the truly nearest records queries find.

    Attributes:
        recall: From 0 to 1, the mean over the sample.
        sample: How many stored embeddings were asked for.
        n_results: How many neighbours of each.
        query_ms: The median time of a query as it is usually run, in milliseconds.
        exact_ms: The median time of the same over all records, in milliseconds.
    """

    recall: float
    sample: int
    n_results: int
    query_ms: float
    exact_ms: float


def check_recall(sample: Any, n_results: Any) -> None:
    """Check what a measurement is asked for.

    Raises:
        InvalidArgumentError: One of the numbers is out of bounds.
    """
    if not _is_whole(sample) or not 1 <= sample <= MAX_SAMPLED:
        raise InvalidArgumentError(
            f"sample: expected an int from 1 to {MAX_SAMPLED:,}, got {shown(sample)}"
        )
    if not _is_whole(n_results) or n_results < 1:
        raise InvalidArgumentError(
            f"n_results: expected an int of at least 1, got {shown(n_results)}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
