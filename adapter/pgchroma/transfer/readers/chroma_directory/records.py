"""The records of a collection, put together from the tables, the queue and the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory.catalog import Catalog, StoredCollection
from pgchroma.transfer.readers.chroma_directory.database import BrokenText, Database
from pgchroma.transfer.readers.chroma_directory.index_vectors import IndexVectors, are_close
from pgchroma.transfer.readers.chroma_directory.metadata import (
    Content,
    MetadataReader,
    merge_metadata,
    rowid_condition,
    split_metadata,
)
from pgchroma.transfer.readers.chroma_directory.queue import (
    DELETE,
    Fate,
    QueueRow,
    TableState,
    fetch,
    replay,
)
from pgchroma.transfer.readers.chroma_directory.tables import UNKNOWN, last_change, list_records
from pgchroma.transfer.source import Loss, SourceBatch

__all__ = ("CollectionReader",)

Numbers = NDArray[np.int64]
Vector = NDArray[np.float32]

_FETCHED: Final = 2000

_MISSING: Final = "its embedding is missing: it is neither in the index nor in the queue of writes"
_STALE: Final = (
    "it was changed after the index was written, and that change is gone from the queue of writes: "
    "its embedding may be an earlier one"
)
_UNSURE: Final = (
    "its row in the database is damaged: nothing says whether its embedding is the last one"
)
_PERHAPS_IGNORED: Final = (
    "its embedding comes from a write that may have had no effect, which cannot be told without "
    "the index"
)
_DAMAGED_WRITE: Final = (
    "its last write in the queue is damaged: its embedding may be an earlier one"
)
_FROM_QUEUE: Final = "its row in the database is lost: it was rebuilt from the queue of writes"
_FROM_INDEX: Final = (
    "its row in the database is lost: its document and metadata are missing, and it may have been "
    "changed or deleted after the index was written"
)
_DISAGREEING: Final = (
    "the database is damaged, or does not agree with the queue of writes: its document and "
    "metadata were taken from the queue"
)
_BROKEN_ID: Final = "its id has bytes that are not UTF-8, which were replaced"

_ROWS_LOST: Final = (
    Loss(
        "record",
        "a part of the database could not be read: records may be missing, and records that were "
        "deleted may be back",
        is_suspect=True,
    ),
    Loss(
        "metadata",
        "a part of the database could not be read: documents and metadata may be missing or old",
        is_suspect=True,
    ),
)


@dataclass(slots=True)
class _Record:
    """A record while it is put together.

    Attributes:
        last_change: The row of the queue that changed it last, or `UNKNOWN`.
        write: The row of the queue with its vector; `None` if the vector is in the index.
        fate: What the queue made of it, if that had to be found out.
    """

    id: str
    hash: int
    last_change: int
    content: Content
    write: int | None = None
    fate: Fate | None = None
    embedding: Vector | None = None
    losses: list[Loss] = field(default_factory=list)

    def is_open(self) -> bool:
        """Whether the queue alone does not tell which embedding the record has."""
        fate = self.fate
        return fate is not None and (fate.is_uncertain or not fate.is_explained)

    def doubt(self, reason: str) -> None:
        """Mark the embedding as suspect."""
        self.losses.append(Loss("embedding", reason, self.id, is_suspect=True))


class CollectionReader:
    """Read the records of a collection in the order in which they were inserted.

    Those that the tables lack come last: records of the queue, in its order, and records that only
    an index has.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        collection: StoredCollection,
        resources: ExitStack,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._collection = collection
        self._resources = resources
        self._metadata = MetadataReader(database)
        self._queue = collection.queue
        self._opened: IndexVectors | None = None
        self._is_trimmed: bool | None = None
        self._dimension = collection.dimension
        self._pending_losses = list(collection.losses)
        if database.has_lost_rows:
            self._pending_losses += _ROWS_LOST
        self._tables_read_up_to = self._find_read_up_to()
        self._unseen = np.unique(self._queue.hashes[self._queue.above(self._tables_read_up_to)])
        self._rowids = collection.rowids
        self._from_queue: list[str] = []
        self._from_index: list[str] = []
        if len(self._unseen) or database.is_damaged:
            self._compare_with_queue()

    @property
    def count(self) -> int:
        """How many records the collection has."""
        return len(self._rowids) + len(self._from_queue) + len(self._from_index)

    def batches(self, size: int, skip: int) -> Iterator[SourceBatch]:
        """Yield the records, without the first `skip` ones."""
        is_first = True
        for records in self._portions(size, skip):
            yield self._finished(records)
            is_first = False
        if is_first and self._pending_losses:
            yield self._finished([])

    def _portions(self, size: int, skip: int) -> Iterator[list[_Record]]:
        stored = len(self._rowids)
        for start in range(skip, self.count, size):
            end = min(start + size, self.count)
            records = []
            if start < stored:
                records += self._stored(self._rowids[start:end].tolist())
            from_queue = self._from_queue[max(start - stored, 0) : max(end - stored, 0)]
            before = stored + len(self._from_queue)
            from_index = self._from_index[max(start - before, 0) : max(end - before, 0)]
            records += self._additional(from_queue, from_index)
            yield records

    # Which records there are

    def _find_read_up_to(self) -> int:
        """Return the last row of the queue that the tables have read."""
        if self._database.is_damaged:
            # Rows that were lost from the tables may still be in the queue.
            return UNKNOWN
        known = self._collection.tables_read_up_to
        if known is not None or not len(self._queue):
            return UNKNOWN if known is None else known
        changes = list_records(self._database, self._collection.metadata_segment).last_changes
        return int(changes.max(initial=UNKNOWN))

    def _compare_with_queue(self) -> None:
        """Find the records that the queue has deleted, and those that the tables lack."""
        listing = list_records(self._database, self._collection.metadata_segment)
        deleted = [
            place
            for place in np.flatnonzero(np.isin(listing.hashes, self._unseen)).tolist()
            if not self._fate(
                int(listing.hashes[place]), int(listing.last_changes[place]), has_record=True
            ).exists
        ]
        self._rowids = np.delete(listing.rowids, deleted)
        missing = self._unseen[~np.isin(self._unseen, listing.hashes)]
        self._from_queue = list(self._created(missing))
        if self._database.is_damaged:
            known = {*listing.hashes.tolist(), *map(hash, self._from_queue)}
            self._from_index = [
                id for id in self._index.ids() if hash(id) not in known and self._is_left(hash(id))
            ]

    def _created(self, hashes: Numbers) -> Iterator[str]:
        """Yield the ids that exist by the queue, in the order in which they were created."""
        created = []
        for hash_ in hashes.tolist():
            fate = self._fate(hash_, UNKNOWN, has_record=False)
            if fate.exists:
                created.append(fate.merged[0])
        created.sort()
        for start in range(0, len(created), _FETCHED):
            some = created[start : start + _FETCHED]
            content = dict(fetch(self._database, some, with_metadata=False))
            yield from (content[sequence].id for sequence in some)

    def _is_left(self, hash_: int) -> bool:
        """Whether the queue does not say that a record of the index was deleted."""
        history = self._queue.history(hash_)
        return not history or history[-1].operation != DELETE

    # The records of a batch

    def _stored(self, rowids: list[int]) -> list[_Record]:
        where, values = rowid_condition("id", rowids)
        rows = self._database.select(
            "embeddings", ("id", "embedding_id", "seq_id"), f"{where} order by id", values
        )
        contents = self._metadata.read(rowids)
        records = [
            _Record(id, hash(id), last_change(sequence), contents[rowid])
            for rowid, id, sequence in rows
            if rowid in contents
        ]
        self._find_writes(records)
        self._fill(records)
        return records

    def _find_writes(self, records: list[_Record]) -> None:
        """Find the row of the queue that has the vector of each record."""
        if not len(self._queue):
            return
        changes = np.array([record.last_change for record in records], np.int64)
        places = self._queue.places(changes)
        has_write = (places >= 0) & self._queue.have_embeddings[places]
        has_write &= self._queue.operations[places] != DELETE
        hashes = np.array([record.hash for record in records], np.int64)
        has_write &= self._queue.hashes[places] == hashes
        for place in np.flatnonzero(has_write).tolist():
            records[place].write = int(changes[place])
        is_open = np.isin(hashes, self._unseen) | ~has_write
        for place in np.flatnonzero(is_open & self._queue.mentions(hashes)).tolist():
            record = records[place]
            self._follow(record, self._fate(record.hash, record.last_change, has_record=True))

    def _additional(self, from_queue: Sequence[str], from_index: Sequence[str]) -> list[_Record]:
        """Return records that the tables lack."""
        records = []
        for id in from_queue:
            record = _Record(id, hash(id), UNKNOWN, Content())
            self._follow(record, self._fate(record.hash, UNKNOWN, has_record=False))
            if self._database.is_damaged:
                record.losses.append(Loss("record", _FROM_QUEUE, id, is_suspect=True))
            records.append(record)
        for id in from_index:
            record = _Record(id, hash(id), UNKNOWN, Content())
            self._follow(record, self._fate(record.hash, UNKNOWN, has_record=True))
            record.losses.append(Loss("record", _FROM_INDEX, id, is_suspect=True))
            records.append(record)
        self._fill(records)
        return records

    def _follow(self, record: _Record, fate: Fate) -> None:
        record.fate, record.write = fate, fate.embedding
        if fate.may_exist_before and self._index.lacks(np.array([record.hash], np.int64))[0]:
            fate.may_exist_before = fate.is_uncertain = False

    def _fate(self, hash_: int, last_change: int, *, has_record: bool) -> Fate:
        state = TableState(
            has_record,
            None if last_change == UNKNOWN else last_change,
            self._tables_read_up_to,
            self._queue_is_trimmed(),
            self._database.is_damaged,
        )
        return replay(self._queue.history(hash_), state)

    def _queue_is_trimmed(self) -> bool:
        """Whether rows may be missing from the beginning of the queue.

        Chroma deletes the rows before the one up to which the index has read, so that an earlier
        row shows that nothing was deleted.
        """
        if self._is_trimmed is None:
            read_up_to = self._index.read_up_to
            if read_up_to is None:
                self._is_trimmed = self._index.has_vectors
            else:
                first = int(self._queue.sequences[0]) if len(self._queue) else read_up_to
                self._is_trimmed = first >= read_up_to > 0
        return self._is_trimmed

    # Embeddings

    @property
    def _index(self) -> IndexVectors:
        if self._opened is None:
            self._opened = IndexVectors.open(
                self._database, self._catalog, self._collection, self._resources
            )
            self._dimension = self._dimension or self._opened.dimension
        return self._opened

    def _fill(self, records: list[_Record]) -> None:
        """Give records their embeddings, and the metadata that only the queue has."""
        wanted = [record.write for record in records if record.write is not None]
        merged = [seq for record in records if record.fate for seq in record.fate.merged]
        written = (
            dict(fetch(self._database, sorted({*wanted, *merged}), with_metadata=bool(merged)))
            if wanted or merged
            else {}
        )
        for record in records:
            self._take_written(record, written)
            if record.fate is not None and record.fate.merged:
                _merge(record, written)
        in_index = [record for record in records if record.embedding is None or record.is_open()]
        if in_index:
            self._take_indexed(in_index)
        for record in records:
            # Without a call for those that have the length.
            if record.embedding is not None and len(record.embedding) != self._dimension:
                self._check_dimension(record)

    def _take_written(self, record: _Record, written: Mapping[int, QueueRow]) -> None:
        row = written.get(record.write) if record.write is not None else None
        if row is None or row.id != record.id:
            record.write = None
        elif row.embedding is None:
            record.doubt(_DAMAGED_WRITE)
        else:
            record.embedding = row.embedding

    def _take_indexed(self, records: list[_Record]) -> None:
        index = self._index
        self._pending_losses += index.losses
        index.losses = []
        vectors = index.read(np.array([record.hash for record in records], np.int64))
        rows = zip(records, vectors.matrix, vectors.is_found.tolist(), strict=True)
        for place, (record, row, is_found) in enumerate(rows):
            vector = row if is_found else None
            if record.embedding is not None:
                self._choose(record, vector, vectors.doubts.get(place))
            elif vector is None:
                record.losses = [loss for loss in record.losses if loss.part != "embedding"]
                record.losses.append(Loss("embedding", _MISSING, record.id))
            else:
                record.embedding = vector
                doubt = vectors.doubts.get(place) or self._doubt(record)
                if doubt is not None:
                    record.doubt(doubt)

    def _choose(self, record: _Record, vector: Vector | None, doubt: str | None) -> None:
        """Choose between the embedding of the queue and that of the index, if there is one."""
        fate, index = record.fate, self._index
        if fate is None or record.embedding is None:
            return
        is_newer = (record.write or 0) > (index.read_up_to or 0)
        if vector is None:
            if fate.is_uncertain and not index.has_whole_map:
                record.doubt(_PERHAPS_IGNORED)
        elif are_close(vector, record.embedding):
            # The queue has the exact bits.
            pass
        elif fate.is_uncertain or not is_newer:
            # The record existed before the row that seems to have created it, or the index has
            # read later rows, which are gone.
            record.embedding = vector
            if doubt is not None:
                record.doubt(doubt)
        doubt = None if fate.is_explained else self._doubt(record)
        if doubt is not None:
            record.doubt(doubt)

    def _doubt(self, record: _Record) -> str | None:
        """Return why an embedding may not be the record's last one."""
        if record.last_change == UNKNOWN:
            return _UNSURE
        if record.fate is not None and record.fate.is_explained:
            return None
        read_up_to = self._index.read_up_to
        if read_up_to is None and len(self._queue):
            # The row up to which the index has read is never deleted by Chroma.
            read_up_to = int(self._queue.sequences[0])
        is_stale = read_up_to is None or record.last_change > read_up_to
        return _STALE if is_stale else None

    def _check_dimension(self, record: _Record) -> None:
        if record.embedding is None:
            return
        found = len(record.embedding)
        if self._dimension is None:
            self._dimension = found
        if found != self._dimension:
            reason = (
                f"its embedding has {found:,} dimensions, and those of the collection have "
                f"{self._dimension:,}"
            )
            record.embedding = None
            record.losses.append(Loss("embedding", reason, record.id))

    def _finished(self, records: list[_Record]) -> SourceBatch:
        documents, uris, metadatas = [], [], []
        losses: list[Loss] = []
        for record in records:
            document, uri, metadata, lost = split_metadata(record.id, record.content)
            documents.append(document)
            uris.append(uri)
            metadatas.append(metadata)
            losses += record.losses
            losses += lost
            if isinstance(record.id, BrokenText):
                losses.append(Loss("record", _BROKEN_ID, record.id, is_suspect=True))
        pending, self._pending_losses = self._pending_losses, []
        return SourceBatch(
            [record.id for record in records],
            [record.embedding for record in records],
            documents,
            uris,
            metadatas,
            (*pending, *losses),
        )


def _merge(record: _Record, written: Mapping[int, QueueRow]) -> None:
    """Put the metadata together that the tables and the queue have of a record."""
    fate = record.fate
    if fate is None:
        return
    changes: list[Mapping[str, Any]] = []
    for sequence in fate.merged:
        row = written.get(sequence)
        if row is None or row.id != record.id:
            continue
        if row.metadata is not None:
            changes.append(row.metadata)
        if row.problem is not None:
            record.losses.append(Loss("metadata", row.problem, record.id, is_suspect=True))
    if not fate.is_whole:
        merge_metadata(record.content, changes)
        return
    rebuilt = Content()
    merge_metadata(rebuilt, changes)
    is_other = _disagree(record.content, rebuilt)
    if fate.may_exist_before and is_other:
        return
    record.content = rebuilt
    if fate.may_exist_before or is_other:
        record.losses.append(Loss("metadata", _DISAGREEING, record.id, is_suspect=True))


def _disagree(stored: Content, rebuilt: Content) -> bool:
    """Whether the tables have a value that the queue does not have."""
    missing = object()
    values = rebuilt.values
    return any(values.get(key, missing) != value for key, value in stored.values.items())
