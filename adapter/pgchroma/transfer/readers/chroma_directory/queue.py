"""Chroma's queue of writes: which of them are still there, and what they did to a record.

Chroma writes to the queue first. The tables of metadata follow at once and the vector index later,
after which the rows of the queue may be deleted. So the vector of a record is in the queue, in the
index, or in both.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory.database import Database
from pgchroma.transfer.readers.chroma_directory.label_maps import hash_ids

__all__ = (
    "EMPTY_QUEUE",
    "Entry",
    "Fate",
    "Queue",
    "QueueRow",
    "TableState",
    "fetch",
    "read_queues",
    "replay",
)

Numbers = NDArray[np.int64]

ADD, UPDATE, UPSERT, DELETE = range(4)

_FETCHED: Final = 2000


class QueueRow(NamedTuple):
    """The content of a row of the queue.

    Attributes:
        embedding: The vector, or `None`.
        metadata: The metadata, document and URI, or `None`.
        problem: Why a part of it could not be read, or `None`.
    """

    id: str
    embedding: NDArray[np.float32] | None
    metadata: Mapping[str, Any] | None
    problem: str | None


class Entry(NamedTuple):
    """What a write did, without its content."""

    sequence: int
    operation: int
    has_embedding: bool


@dataclass(slots=True, eq=False)
class Queue:
    """The rows of a collection in the queue, in their order, without their content.

    Attributes:
        sequences: Their numbers, ascending.
        hashes: Their ids as `hash_ids` gives them.
        operations: What they do.
        have_embeddings: Whether they have a vector.
    """

    sequences: Numbers
    hashes: Numbers
    operations: NDArray[np.int8]
    have_embeddings: NDArray[np.bool_]
    _order: Numbers | None = field(default=None, init=False)
    _sorted: Numbers | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.sequences)

    def places(self, sequences: Numbers) -> Numbers:
        """Return the places of rows by their numbers; -1 if there is none."""
        if not len(self):
            return np.full(len(sequences), -1, np.int64)
        places = np.minimum(np.searchsorted(self.sequences, sequences), len(self) - 1)
        found: Numbers = np.where(self.sequences[places] == sequences, places, -1)
        return found

    def above(self, sequence: int) -> slice:
        """Return the places of the rows above a number."""
        return slice(int(np.searchsorted(self.sequences, sequence, "right")), len(self))

    def mentions(self, hashes: Numbers) -> NDArray[np.bool_]:
        """Whether there are writes to each id."""
        _, ascending = self._by_id()
        places = np.minimum(np.searchsorted(ascending, hashes), len(self) - 1)
        found: NDArray[np.bool_] = ascending[places] == hashes
        return found

    def history(self, hash: int) -> list[Entry]:
        """Return the writes to an id, in order."""
        order, ascending = self._by_id()
        first = int(ascending.searchsorted(hash, "left"))
        last = int(ascending.searchsorted(hash, "right"))
        return [
            Entry(
                int(self.sequences[place]),
                int(self.operations[place]),
                bool(self.have_embeddings[place]),
            )
            for place in order[first:last].tolist()
        ]

    def _by_id(self) -> tuple[Numbers, Numbers]:
        """Return the places of the rows in the order of their hashes, and the hashes."""
        if self._order is None or self._sorted is None:
            self._order = np.argsort(self.hashes, kind="stable")
            self._sorted = self.hashes[self._order]
        return self._order, self._sorted


@dataclass(slots=True)
class Fate:
    """What the writes in the queue made of a record.

    Attributes:
        exists: Whether the record exists after them.
        embedding: The row with its vector; `None` if the vector is in the index.
        may_exist_before: Whether the row that seems to have created the record may have had no
            effect, because the record existed before; the index can tell.
        is_uncertain: Whether the row with the vector is that one.
        is_whole: Whether `merged` has all of the record's metadata, if it did not exist before.
        merged: The rows with metadata that is to be merged, into that of the tables or alone.
        is_explained: Whether the queue has the row that changed the record last.
    """

    exists: bool
    embedding: int | None = None
    may_exist_before: bool = False
    is_uncertain: bool = False
    is_whole: bool = False
    merged: list[int] = field(default_factory=list)
    is_explained: bool = False


@dataclass(frozen=True, slots=True)
class TableState:
    """What the tables of metadata say about a record and the queue.

    Attributes:
        has_record: Whether the tables have the record.
        last_change: The number of the record's last change, if it is known.
        read_up_to: The last row of the queue that the tables have read.
        is_queue_trimmed: Whether earlier rows of the collection were deleted from the queue.
        are_damaged: Whether the tables have lost rows, so that the queue is to be preferred.
    """

    has_record: bool
    last_change: int | None
    read_up_to: int
    is_queue_trimmed: bool
    are_damaged: bool


def replay(entries: Sequence[Entry], state: TableState) -> Fate:
    """Follow the writes to an id.

    An add of an id that exists and an update of one that does not have no effect, and leave no
    number in the tables.

    Args:
        entries: The writes to the id that are in the queue.
        state: What the tables say.
    """
    last_change = state.last_change
    if not state.has_record:
        known, later = [], [e for e in entries if e.sequence > state.read_up_to]
    elif last_change is None:
        known, later = list(entries), []
    else:
        seen = max(last_change, state.read_up_to)
        known = [e for e in entries if e.sequence <= last_change]
        later = [e for e in entries if e.sequence > seen]
    fate = _known_part(known, state)
    if state.has_record:
        is_deleted = last_change is None and bool(known) and known[-1].operation == DELETE
        fate.exists = not is_deleted
    if not (state.are_damaged and fate.is_whole):
        fate.is_whole, fate.merged = False, []
    for entry in later:
        _apply(fate, entry, is_queue_trimmed=state.is_queue_trimmed)
    return fate


def _known_part(entries: Sequence[Entry], state: TableState) -> Fate:
    """Follow the writes that a record in the tables has seen."""
    fate = Fate(exists=False)
    may_exist_before = state.is_queue_trimmed
    for entry in entries:
        is_last = entry.sequence == state.last_change
        if entry.operation == DELETE:
            fate = Fate(exists=False)
            may_exist_before = False
        elif fate.exists:
            if entry.operation != ADD:
                _change(fate, entry)
        elif entry.operation == ADD:
            _create(fate, entry)
            fate.may_exist_before = fate.is_uncertain = may_exist_before and not is_last
            fate.is_whole = True
        elif entry.operation == UPSERT:
            _create(fate, entry)
            fate.is_whole = not may_exist_before
        elif may_exist_before:
            _change(fate, entry)
        fate.is_explained |= is_last
    return fate


def _apply(fate: Fate, entry: Entry, *, is_queue_trimmed: bool) -> None:
    """Apply a write that the tables have not seen."""
    if entry.operation == DELETE:
        fate.exists, fate.embedding, fate.merged = False, None, []
        fate.may_exist_before = fate.is_uncertain = False
        fate.is_whole = True
    elif fate.exists and entry.operation != ADD:
        _change(fate, entry)
        fate.is_explained |= entry.has_embedding
    elif not fate.exists and entry.operation in (ADD, UPSERT):
        was_deleted = fate.is_whole
        _create(fate, entry)
        is_open = is_queue_trimmed and not was_deleted and entry.operation == ADD
        fate.may_exist_before = fate.is_uncertain = is_open
        fate.is_whole = fate.is_explained = True


def _create(fate: Fate, entry: Entry) -> None:
    fate.exists = True
    fate.merged = [entry.sequence]
    fate.embedding = entry.sequence if entry.has_embedding else None
    fate.may_exist_before = fate.is_uncertain = False


def _change(fate: Fate, entry: Entry) -> None:
    fate.merged.append(entry.sequence)
    if entry.has_embedding:
        fate.embedding = entry.sequence
        fate.is_uncertain = False


def read_queues(database: Database) -> dict[str, Queue]:
    """Return the queue of each collection by the collection's UUID, and in the end of its topic."""
    columns: dict[str, tuple[array[int], array[int], array[int], array[int]]] = {}
    if not database.columns("embeddings_queue"):
        return {}
    cursor = database.connection.execute(
        "select seq_id, operation, topic, id, vector is not null from embeddings_queue "
        "order by seq_id"
    )
    while rows := cursor.fetchmany(_FETCHED):
        for topic, group in groupby(rows, key=lambda row: row[2]):
            collection = str(topic).rsplit("/", 1)[-1]
            target = columns.setdefault(
                collection, (array("q"), array("q"), array("b"), array("b"))
            )
            sequences, operations, _, ids, have = zip(*group, strict=True)
            target[0].extend(sequences)
            target[1].frombytes(hash_ids(map(str, ids)).tobytes())
            target[2].extend(
                op if isinstance(op, int) and 0 <= op <= DELETE else -1 for op in operations
            )
            target[3].extend(have)
    return {collection: _queue(*parts) for collection, parts in columns.items()}


def _queue(
    sequences: array[int], hashes: array[int], operations: array[int], have: array[int]
) -> Queue:
    return Queue(
        np.frombuffer(sequences, np.int64),
        np.frombuffer(hashes, np.int64),
        np.frombuffer(operations, np.int8),
        np.frombuffer(have, np.bool_),
    )


EMPTY_QUEUE: Final = _queue(array("q"), array("q"), array("b"), array("b"))


def fetch(
    database: Database, sequences: Sequence[int], *, with_metadata: bool
) -> Iterator[tuple[int, QueueRow]]:
    """Yield the content of rows of the queue by their numbers, in no certain order."""
    cursor = database.select(
        "embeddings_queue",
        ("seq_id", "id", "vector", "encoding", *(["metadata"] if with_metadata else [])),
        "where seq_id in (select value from json_each(?))",
        (json.dumps(sequences),),
    )
    for sequence, id, vector, encoding, *metadata in cursor:
        embedding, problem = _decode_vector(vector, encoding)
        parsed, metadata_problem = _decode_metadata(metadata[0] if metadata else None)
        yield sequence, QueueRow(id, embedding, parsed, problem or metadata_problem)


def _decode_vector(
    vector: object, encoding: object
) -> tuple[NDArray[np.float32] | None, str | None]:
    if vector is None:
        return None, None
    if not isinstance(vector, bytes) or len(vector) % 4:
        return None, "its embedding in the queue is damaged"
    if encoding == "INT32":
        return np.frombuffer(vector, "<i4").astype(np.float32), None
    return np.frombuffer(vector, "<f4"), None


def _decode_metadata(metadata: object) -> tuple[Mapping[str, Any] | None, str | None]:
    if metadata is None:
        return None, None
    try:
        parsed = json.loads(metadata) if isinstance(metadata, str | bytes) else None
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return None, "its metadata in the queue is damaged"
    return parsed, None
