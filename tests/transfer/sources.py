"""Sources whose records the tests choose, and the backends that they are transferred to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.connect import connect
from pgchroma.client._sync.backends import http_backend
from pgchroma.config import Settings
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import GetCollection, GetRecords, ListCollections
from pgchroma.model.records import RecordColumns
from pgchroma.transfer.importing import Assignment
from pgchroma.transfer.source import Loss, SourceBatch, SourceCollection
from pgchroma.transfer.writers.backend import ref_of

SCOPE = DatabaseRef("default_tenant", "default_database")


@dataclass(slots=True)
class Record:
    """A record as a source yields it."""

    id: Any
    embedding: NDArray[np.float32] | None = None
    document: Any = None
    uri: Any = None
    metadata: Any = None


@dataclass(slots=True)
class ListSource:
    """A source that holds its records in memory.

    Attributes:
        before: Called with the position of each batch before it is yielded.
        batches_read: How many batches were yielded.
    """

    records: Sequence[Record]
    name: str = "papers"
    details: Mapping[str, Any] = field(default_factory=dict)
    losses: Sequence[Loss] = ()
    before: Callable[[int], None] = lambda position: None
    batches_read: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def describe(self) -> str:
        return "a list"

    def warnings(self) -> Sequence[str]:
        return ()

    def collections(self) -> Sequence[SourceCollection]:
        return [SourceCollection("key", self.name, **self.details)]

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        for first in range(skip, len(self.records), size):
            self.before(first)
            part = self.records[first : first + size]
            self.batches_read += 1
            yield SourceBatch(
                [each.id for each in part],
                [each.embedding for each in part],
                [each.document for each in part],
                [each.uri for each in part],
                [each.metadata for each in part],
                self.losses if first == 0 else (),
            )


def some_records(
    count: int, dimension: int = 8, seed: int = 0, *, has_gaps: bool = False
) -> list[Record]:
    """Records in which each kind of value occurs, and each part is missing somewhere.

    Embeddings are missing with `has_gaps` only, since Chroma's API has no such records.
    """
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return [
        Record(
            f"id-{n}",
            None if has_gaps and n % 11 == 5 else vectors[n],
            None if n % 7 == 3 else f"dökument {n}",
            f"file:///{n}" if n % 5 == 0 else None,
            None if n % 13 == 1 else _metadata(n),
        )
        for n in range(count)
    ]


def _metadata(n: int) -> dict[str, Any]:
    return {
        "int": n,
        "float": n / 3,
        "whole": float(n),
        "bool": n % 2 == 0,
        "text": "naïve" * (n % 3),
        "strings": ["a", "b"],
        "ints": [1, n],
        "floats": [0.5, 1.0],
        "bools": [True],
        "sparse": {"#type": "sparse_vector", "indices": [1, n + 5], "values": [0.5, 0.1]},
    }


def assignment(source: ListSource, scope: DatabaseRef = SCOPE) -> Assignment:
    """Transfer the source's collection under its own name."""
    (collection,) = source.collections()
    return Assignment(collection, scope, source.name)


@contextmanager
def opened(place: str) -> Iterator[Backend]:
    """A backend on a database or a server."""
    settings = Settings(pgchroma_compaction=False)
    if place.startswith("http"):
        backend: Backend = http_backend(settings.model_copy(update={"chroma_server_host": place}))
    else:
        backend = connect(place, settings)
    try:
        yield backend
    finally:
        backend.close()


def stored(backend: Backend, name: str, scope: DatabaseRef = SCOPE) -> RecordColumns:
    """All records of a collection."""
    include = frozenset({"documents", "embeddings", "metadatas", "uris"})
    found = backend.execute(GetCollection(scope, name))
    return backend.execute(GetRecords(ref_of(found), include))


def names(backend: Backend, scope: DatabaseRef = SCOPE) -> list[str]:
    """The names of all collections."""
    return [each.name for each in backend.execute(ListCollections(scope))]


def check_stored(found: RecordColumns, records: Sequence[Record]) -> None:
    """Compare what is stored with the records of a source, bit for bit and type for type."""
    assert found.ids == [each.id for each in records]
    assert found.documents == [each.document for each in records]
    assert found.uris == [each.uri for each in records]
    for n, record in enumerate(records):
        assert _canonical((found.metadatas or [])[n]) == _canonical(record.metadata)
        row = None if found.embeddings is None else found.embeddings[n]
        if record.embedding is None:
            assert row is None or np.isnan(row).all()
        else:
            assert row is not None
            assert row.tobytes() == record.embedding.tobytes()


def _canonical(metadata: Mapping[str, Any] | None) -> str:
    # JSON distinguishes 1, 1.0 and true.
    return json.dumps(metadata or {}, sort_keys=True)
