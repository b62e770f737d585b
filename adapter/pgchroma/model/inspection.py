"""The progress of a collection's indexes, the explanation of a query, and the recall of queries."""

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
"""Maximum sample of one measurement; each embedding is compared with every record."""

Strategy: TypeAlias = Literal["exact", "index"]


@dataclass(frozen=True, slots=True)
class IndexingStatus:
    """How far compaction has come in a collection's log.

    Each record that was added, changed or deleted is one operation. Queries find all of them at any
    time. A compaction builds the indexes that are needed, so a caller can wait for the progress to
    reach 1, which takes a few seconds after the last write if nothing needs an index.

    Attributes:
        num_indexed_ops: Operations before the last compaction.
        num_unindexed_ops: Operations after it, or embeddings that wait for an index.
        total_ops: The sum of both.
        op_indexing_progress: The part that is done, from 0 to 1, including the progress of a
            running build.
        error: Why the last attempt to build an index failed; `None` if it did not.
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
        first_pos: The first log position that it covers.
        end_pos: The log position after the last one that it covers.
        rows_read: Rows that the search read from it.
    """

    index_name: str
    first_pos: int
    end_pos: int
    rows_read: int


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query ran.

    Attributes:
        strategy: ``exact`` computes the distances to all records that match; ``index`` searches
            the segments' indexes, and computes the distances to the tail.
        matches: How many records match the filter, counted up to the planner's limit; `None` for
            a query without a filter.
        segments: The indexes searched.
        tail_rows: Rows of the log after the last segment, which were all scanned.
        rows_read: Rows read from all tables.
        planning_ms: PostgreSQL's time to plan the statement, in milliseconds.
        execution_ms: PostgreSQL's time to run it, in milliseconds.
        settings: The settings of the statement's transaction.
        sql: The statement.
        plan: PostgreSQL's plan, as ``explain (analyze, buffers)`` prints it.
        again: The explanation of a second, exact run, which was needed because the answer of the
            first was too short or had embeddings of no record; `None` without a second run. Its
            times are additional.
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
        """Return a summary of a few lines; `sql` and `plan` have the details."""
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
    """The part of the true nearest neighbours that queries find.

    Attributes:
        recall: The mean over the sample, from 0 to 1.
        sample: How many stored embeddings were searched for.
        n_results: How many neighbours of each.
        query_ms: The median time of a normal query, in milliseconds.
        exact_ms: The median time of the same query by a scan of all records, in milliseconds.
    """

    recall: float
    sample: int
    n_results: int
    query_ms: float
    exact_ms: float


def check_recall(sample: Any, n_results: Any) -> None:
    """Check the arguments of a measurement.

    Raises:
        InvalidArgumentError: A number is out of bounds.
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
