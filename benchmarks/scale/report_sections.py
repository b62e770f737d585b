"""The topics of the report: the rows of each table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scale.results import Measured

Figure = Callable[[Measured, str], float]
"""Takes the measurements and a peer; returns NaN if the peer has no such figure."""


@dataclass(frozen=True)
class Row:
    """A line of a table: a figure for each peer, with the recall that belongs to it, if any."""

    label: str
    figure: Figure
    recall: Figure | None = None


@dataclass(frozen=True)
class Section:
    """A section with a table and a plot, which shows the rows for the largest collection.

    Attributes:
        slug: The plot's name.
        axis: The label of the plot's axis.
        drawn: A part of the label of all rows that the plot shows; all rows if empty.
    """

    title: str
    slug: str
    axis: str
    text: str
    rows: tuple[Row, ...]
    drawn: str = ""


def taken(part: str, measure: str) -> Figure:
    """Use a number as it was measured."""
    return lambda measured, peer: measured.value(peer, part, measure)


def numbers(part: str, measures: Mapping[str, str]) -> list[Row]:
    """Return the rows of numbers as they were measured, by their labels."""
    return [Row(label, taken(part, measure)) for label, measure in measures.items()]


def timed(
    label: str, part: str, prefix: str = "", percentiles: tuple[int, ...] = (50,)
) -> list[Row]:
    """Return the rows of a time, each with its recall."""
    recall = taken(part, f"{prefix}recall")
    return [
        Row(f"{label}p{percentile}, ms", taken(part, f"{prefix}time p{percentile}"), recall)
        for percentile in percentiles
    ]


def per_record(when: str, what: str) -> Figure:
    """Return the bytes per record."""
    return lambda measured, peer: (
        measured.value(peer, "disk", f"{when}, {what}") / measured.workload.size
    )


def _after_churn(measured: Measured, peer: str) -> float:
    bytes_ = measured.value(peer, "churn", "bytes")
    before = measured.value(peer, "disk", "before, without WAL")
    return (bytes_ - before) / measured.workload.size


def _slowdown(writer: str) -> Figure:
    return lambda measured, peer: (
        measured.value(peer, "ingesting", f"beside a {writer} time p50")
        / measured.value(peer, "ingesting", "at rest time p50")
    )


def _limit(measured: Measured, peer: str) -> float:
    return measured.value(peer, "load", "limit rows/s")


FILTERS = tuple(
    f"{kind} {part}" for part in ("10 %", "1 %", "0.1 %") for kind in ("equality", "range")
)
TEXTS = ("$contains, rare", "$contains, common", "$regex, rare", "$regex, common")

SECTIONS = (
    Section(
        "Ingest",
        "ingest",
        "rows a second",
        "Acknowledged as durable, rows a second; all records in batches of 1,000, and up to 20,000 "
        "in other batches, each into a new directory. “Binary COPY” copies all records and "
        "vectors into bare tables without any index: as fast as PostgreSQL takes them from one "
        "client. SQL by hand makes its index afterwards; langchain-postgres adds row by row, of "
        "which 2,000 are timed, and the rest is copied behind its back.",
        (
            Row("batches of 1,000, rows/s", taken("load", "rows/s")),
            Row("first 20,000, batches of 1,000, rows/s", taken("batches, 1,000", "rows/s")),
            Row("first 20,000, batches of 5,000, rows/s", taken("batches, 5,000", "rows/s")),
            Row("first 20,000, biggest batches, rows/s", taken("batches, biggest", "rows/s")),
            Row("binary COPY, rows/s", _limit),
        ),
    ),
    Section(
        "Until everything is indexed",
        "indexed",
        "seconds",
        "From the first add until queries find everything by an index. chromadb indexes while it "
        "adds, pgchroma indexes in the background during the load and after it, and by hand the "
        "index is created after the load.",
        tuple(
            numbers(
                "load",
                {"until indexed, s": "indexed s", "of that after the last add, s": "index s"},
            )
        ),
    ),
    Section(
        "Queries at rest",
        "query",
        "milliseconds",
        "Ten results, one query a call, with the default settings; 200 queries which are not "
        "among the records.",
        tuple(timed("", "query", percentiles=(50, 95))),
    ),
    Section(
        "Queries while ingesting",
        "ingesting",
        "times as long as at rest",
        "A writer adds batches of 1,000 to the same collection for ten seconds, as fast as it can: "
        "a thread of the reader's process, then a process of its own where the peer allows two. "
        "The collection grows by what is written.",
        (
            *numbers(
                "ingesting",
                {
                    "at rest p50, ms": "at rest time p50",
                    "beside a thread p50, ms": "beside a thread time p50",
                    "beside a process p50, ms": "beside a process time p50",
                    "thread's rows/s": "beside a thread rows/s",
                    "process's rows/s": "beside a process rows/s",
                },
            ),
            Row("beside a thread ÷ at rest", _slowdown("thread")),
            Row("beside a process ÷ at rest", _slowdown("process")),
        ),
        "÷ at rest",
    ),
    Section(
        "Fifty queries",
        "fifty",
        "milliseconds",
        "Fifty queries in one call, and in fifty.",
        tuple(numbers("fifty", {"one call, ms": "one call p50", "50 calls, ms": "50 calls p50"})),
    ),
    Section(
        "Queries with filters",
        "filters",
        "milliseconds",
        "Filters by metadata that 10, 1 and 0.1 % of the records match, with another value each "
        "time, and by text. Each was asked for 30 times before. By hand there are indexes on the "
        "keys; langchain-postgres has a column for each.",
        tuple(
            row
            for name in (*FILTERS, "$contains, rare", "$contains, common")
            for row in timed(f"{name}, ", "filters", f"{name} ")
        ),
    ),
    Section(
        "Gets by text and by metadata",
        "documents",
        "milliseconds",
        "Everything that matches, with documents and metadata: a text or pattern that few records "
        "have, and one that about a tenth has; 1 % by metadata. Each was asked for 30 times.",
        tuple(
            row
            for name in (*TEXTS, "get, equality 1 %", "get, range 1 %")
            for row in timed(f"{name}, ", "documents", f"{name} ")
        ),
    ),
    Section(
        "Gets by ids",
        "by-ids",
        "milliseconds",
        "Ten records by their ids, with documents and metadata.",
        tuple(timed("", "by_ids")),
    ),
    Section(
        "Count",
        "count",
        "milliseconds",
        "Of the whole collection.",
        tuple(timed("", "count")),
    ),
    Section(
        "Upsert",
        "upsert",
        "rows a second",
        "New embeddings for records that are there, in batches of 1,000.",
        (Row("rows/s", taken("upsert", "rows/s")),),
    ),
    Section(
        "Several at once",
        "concurrency",
        "queries a second",
        "Queries a second, of threads which share a client, and of processes with a client each.",
        tuple(
            Row(
                f"{count} {what if count > 1 else one}, queries/s",
                taken("concurrency", f"{what}: {count}"),
            )
            for what, one in (("threads", "thread"), ("processes", "process"))
            for count in (1, 8)
        ),
    ),
    Section(
        "Disk",
        "disk",
        "bytes a record",
        "What the directory has more than before there was a collection, in bytes a record: at "
        "rest after loading, and after delete_collection; nothing runs then. PostgreSQL's log "
        "(WAL) follows what was written lately, not what there is, and is counted apart.",
        tuple(
            Row(f"{label}, {what}", per_record(when, what))
            for label, when in (("at rest", "at rest"), ("after deletion", "dropped"))
            for what in ("without WAL", "all")
        ),
    ),
    Section(
        "Memory",
        "memory",
        "MB",
        "A process that opened the collection and asked 200 queries, MB: its own peak (RSS), what "
        "PostgreSQL's processes take (PSS, in which shared memory counts once), and all together. "
        "While loading: how much the client's process grew.",
        (
            *numbers(
                "memory",
                {
                    "client, peak RSS": "client, peak",
                    "PostgreSQL, PSS": "PostgreSQL, PSS",
                    "all, PSS": "all, PSS",
                },
            ),
            Row("while loading, client's growth", taken("load", "client, MB")),
        ),
    ),
    Section(
        "Churn",
        "churn",
        "rows a second",
        "Ten times a tenth of the records gets new embeddings, in turns by deleting and adding "
        "again and by upserting. Then 2,000 live records are looked for by their own embedding: "
        "one that does not come back first is unreachable.",
        (
            Row("changed, rows/s", taken("churn", "rows/s")),
            *timed("query afterwards ", "churn"),
            Row("unreachable of 2,000", taken("churn", "unreachable")),
            Row("bytes a record afterwards, without WAL", _after_churn),
        ),
        "changed",
    ),
)


def is_empty(row: Row, measured: Measured, peers: tuple[str, ...]) -> bool:
    """Whether no peer has a figure for the row."""
    return all(math.isnan(row.figure(measured, peer)) for peer in peers)
