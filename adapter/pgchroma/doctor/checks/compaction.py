"""What the compactor recorded: builds that fail, and how far it is behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.checks.rows import log_states
from pgchroma.doctor.collections import KNOWN
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, Fix, info, warning
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

MIN_PENDING: Final = 1_000
"""Operations that no pass of a compactor has seen, from which on a collection is reported."""

MANY_PENDING: Final = 100_000
"""From this many on the report is a warning."""

OLD_DAYS: Final = 1
"""From how many days on pending embeddings are reported."""


@catalog_check("compaction-error")
def _errors(database: Database) -> Iterator[Finding]:
    for id, subject, message in database.rows(_ERRORS):
        yield warning(
            subject,
            f"the last build of an index stopped: {message}",
            "queries read what has no index; compactors try again after growing pauses, up to an "
            "hour",
            "pgchroma compact",
            fix=Fix("compact", id),
        )


@catalog_check("not-compacted")
def _pending(database: Database) -> Iterator[Finding]:
    compacted = {id: operations for id, operations in database.rows(_COMPACTED)}
    for collection, state in database.shared(log_states):
        pending = state.operations - (compacted.get(collection.id) or 0)
        if pending < MIN_PENDING:
            continue
        is_behind = pending >= MANY_PENDING and not collection.is_locked
        report = warning if is_behind else info
        yield report(
            collection.subject,
            f"no compactor has seen the last {pending} operations",
            "the version and the discovered metadata keys are outdated",
            "pgchroma compact",
            fix=Fix("compact", collection.id),
            operations=pending,
        )


@catalog_check("pending-embeddings")
def _reembeddings(database: Database) -> Iterator[Finding]:
    for subject, is_previous, days in database.rows(_REEMBEDDINGS, {"days": OLD_DAYS}):
        kind = "previous" if is_previous else "pending"
        yield info(
            subject,
            f"the collection has {kind} embeddings of a re-embedding for {days} days",
            "they take as much space as the current ones, and each write clears them, too",
            "collection.drop_reembedding()",
            days=days,
        )


_ERRORS: Final = render(
    """
    select k.id, k.subject, c.index_error
    from {known} as k
    join pgchroma.collections as c on c.id = k.id
    where c.index_error is not null
    order by 2
    """,
    known=KNOWN,
)

_COMPACTED: Final = render(
    """
    select c.id, c.compacted_operations
    from {known} as k
    join pgchroma.collections as c on c.id = k.id
    """,
    known=KNOWN,
)

_REEMBEDDINGS: Final = render(
    """
    select
        k.subject, r.is_previous,
        (extract(epoch from clock_timestamp() - r.created_at) / 86400)::int
    from {known} as k
    join pgchroma.reembeddings as r on r.collection_id = k.id
    where r.created_at < clock_timestamp() - %(days)s * interval '1 day'
    order by 1
    """,
    known=KNOWN,
)

CHECKS: Final = (_errors, _pending, _reembeddings)
