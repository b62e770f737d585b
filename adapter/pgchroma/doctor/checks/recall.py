"""The recall of indexes, measured against exact search. It is done on request only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.connect import connect
from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.collections import KNOWN, KnownCollection, readable_collections
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, info, not_checked, warning
from pgchroma.errors import ChromaError
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import CollectionRef, MeasureRecall
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

MIN_RECALL: Final = 0.9
"""A lower recall is reported as a warning."""

N_RESULTS: Final = 10

MAX_SAMPLE: Final = 50
MIN_SAMPLE: Final = 5

EXACT_ROWS: Final = 20_000_000
"""Embeddings that the exact searches of one collection read in total, some ten to twenty seconds.
"""

SECONDS: Final = 60.0
"""How long the measurement of one collection may take."""


@catalog_check("recall")
def _recall(database: Database) -> Iterator[Finding]:
    if not database.measures_recall:
        return
    indexed = {id for (id,) in database.rows(_INDEXED)}
    collections = [each for each in database.shared(readable_collections) if each.id in indexed]
    if not collections:
        return
    limits = {
        "migrations": "none", "pgchroma_compaction": False, "pgchroma_request_timeout": SECONDS,
    }  # fmt: skip
    backend = connect(database.conninfo, database.settings.model_copy(update=limits))
    try:
        for collection in collections:
            yield _measure(backend, collection)
    finally:
        backend.close()


def _measure(backend: Backend, collection: KnownCollection) -> Finding:
    sample = min(max(EXACT_ROWS // max(collection.rows, 1), MIN_SAMPLE), MAX_SAMPLE)
    scope = DatabaseRef(collection.tenant, collection.database)
    operation = MeasureRecall(CollectionRef(scope, collection.id), sample, N_RESULTS)
    try:
        measured = backend.execute(operation)
    except ChromaError as failure:
        return not_checked("recall", f"{collection.subject}: {failure.message()}")
    report = warning if measured.recall < MIN_RECALL else info
    return report(
        collection.subject,
        f"queries find {measured.recall:.1%} of the {N_RESULTS} nearest records, measured with "
        f"{measured.sample} of its embeddings",
        f"a query takes {measured.query_ms:.3g} ms, an exact one {measured.exact_ms:.3g} ms",
        f'collection.modify(configuration={{"hnsw": {{"ef_search": {2 * collection.ef_search}}}}})'
        if measured.recall < MIN_RECALL
        else "",
        recall=measured.recall,
        sample=measured.sample,
        query_ms=measured.query_ms,
        exact_ms=measured.exact_ms,
    )


_INDEXED: Final = render(
    """
    select distinct k.id
    from {known} as k
    join pgchroma.segments as s
        on s.collection_id = k.id and s.generation = k.generation and s.is_ready
    """,
    known=KNOWN,
)

CHECKS: Final = (_recall,)
