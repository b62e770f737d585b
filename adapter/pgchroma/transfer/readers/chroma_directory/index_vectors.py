"""The vectors that the index of a collection has, by id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory.catalog import Catalog, StoredCollection
from pgchroma.transfer.readers.chroma_directory.database import Database
from pgchroma.transfer.readers.chroma_directory.hnsw import HnswIndex, Vectors, open_index
from pgchroma.transfer.readers.chroma_directory.label_maps import (
    LabelMap,
    iterate_labels,
    read_label_map,
)
from pgchroma.transfer.readers.chroma_directory.matching import label_candidates
from pgchroma.transfer.readers.chroma_directory.queue import (
    ADD,
    DELETE,
    UPDATE,
    UPSERT,
    Queue,
    fetch,
)
from pgchroma.transfer.readers.chroma_directory.tables import UNKNOWN, Listing, list_records
from pgchroma.transfer.source import Loss

__all__ = ("IndexVectors", "are_close")

Numbers = NDArray[np.int64]

_PICKLE: Final = "index_metadata.pickle"
_NO_LABELS: Final = LabelMap(np.zeros(0, np.int64), np.zeros(0, np.int64))
_MAX_CHECKS: Final = 500
_AGREEING_LABELS: Final = 0.9
_TOLERANCE: Final = 1e-4

_DOUBTFUL: Final = (
    "the map of ids is damaged where this id is: its embedding may be that of another record"
)
_UNCHECKED: Final = (
    "the map of ids is lost: its embedding was found by its place in the index alone, and may "
    "belong to another record"
)


def are_close(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    """Whether two vectors differ by no more than the rounding of an index for cosine distances."""
    if left.shape != right.shape:
        return False
    with np.errstate(all="ignore"):
        difference = float(np.linalg.norm(left.astype(np.float64) - right))
        return difference <= _TOLERANCE * float(np.linalg.norm(right.astype(np.float64))) + 1e-12


@dataclass(slots=True, eq=False)
class IndexVectors:
    """The vectors of an open index, by id.

    Attributes:
        read_up_to: The last row of the queue that the index has read, if it is known.
        has_whole_map: Whether every id of the index is known.
        losses: What is wrong with the index.
    """

    read_up_to: int | None
    has_whole_map: bool
    losses: list[Loss]
    _collection: StoredCollection
    _index: HnswIndex | None
    _labels: LabelMap
    _is_unchecked: bool = False

    @classmethod
    def open(
        cls,
        database: Database,
        catalog: Catalog,
        collection: StoredCollection,
        resources: ExitStack,
    ) -> IndexVectors:
        """Open the index of a collection; a collection without one has no vectors in it."""
        directory = collection.index_directory
        read_up_to = collection.index_read_up_to
        if directory is None:
            losses = []
            if collection.vector_segment is not None and read_up_to:
                reason = f"the directory of its index, {collection.vector_segment}, is missing"
                losses.append(Loss("embedding", reason))
            return cls(read_up_to, not losses, losses, collection, None, _NO_LABELS)
        problems = []
        labels, has_map = _NO_LABELS, True
        try:
            labels = read_label_map(directory / _PICKLE)
            if labels.problem is not None:
                problems.append(f"{_PICKLE} {labels.problem}")
        except OSError:
            has_map = False
        index = None
        try:
            index = open_index(
                directory,
                dimension=collection.dimension,
                neighbors=collection.settings.neighbors,
                space=collection.settings.space,
                known_labels=labels.labels,
            )
        except OSError as error:
            problems.append(str(error) if error.filename is None else f"{_name(error)} is missing")
        if index is not None:
            resources.callback(index.close)
            problems += index.problems
            if not has_map:
                problems.append(f"{_PICKLE}, the map of ids, is missing")
        opened = cls(
            read_up_to if read_up_to is not None else labels.max_sequence,
            labels.problem is None and (has_map or index is None),
            [Loss("embedding", f"the index: {problem}") for problem in problems],
            collection,
            index,
            labels,
        )
        if index is not None and not opened.has_whole_map:
            opened._match(database, catalog)
        return opened

    @property
    def has_vectors(self) -> bool:
        """Whether the index has any vectors."""
        return self._index is not None and bool(len(self._index.labels))

    @property
    def dimension(self) -> int | None:
        """The length of the vectors, if the index has any."""
        return None if self._index is None else self._index.layout.dimension

    def read(self, hashes: Numbers) -> Vectors:
        """Return the vectors of ids, which are given as `hash_ids` gives them."""
        if self._index is None:
            found = np.zeros(len(hashes), np.bool_)
            return Vectors(np.zeros((len(hashes), 0), np.float32), found, {})
        labels = self._labels.find(hashes)
        vectors = self._index.read(labels)
        if self._labels.doubtful:
            for row in np.flatnonzero(labels == self._labels.doubtful).tolist():
                vectors.doubts.setdefault(row, _DOUBTFUL)
        if self._is_unchecked:
            for row in np.flatnonzero(vectors.is_found).tolist():
                vectors.doubts.setdefault(row, _UNCHECKED)
        return vectors

    def lacks(self, hashes: Numbers) -> NDArray[np.bool_]:
        """Whether the index certainly had no vector of ids when it was last written."""
        if not self.has_whole_map:
            return np.zeros(len(hashes), np.bool_)
        lacks: NDArray[np.bool_] = self._labels.find(hashes) == 0
        return lacks

    def ids(self) -> Iterator[str]:
        """Yield the ids in the map of the index, in the order of their labels."""
        directory = self._collection.index_directory
        if directory is None or self._index is None:
            return
        try:
            pairs = sorted((label, id) for id, label in iterate_labels(directory / _PICKLE))
        except OSError:
            return
        yield from (id for _, id in pairs)

    def _match(self, database: Database, catalog: Catalog) -> None:
        """Find the labels of the ids that the map lacks, if that is possible beyond doubt."""
        listing = list_records(database, self._collection.metadata_segment)
        if not self.has_vectors or _queue_has_all(self._collection.queue, listing):
            return
        if not catalog.is_from_1_0:
            reason = (
                "the index: ids cannot be found by their places, since Chroma before 1.0 created "
                "the directory"
            )
            self.losses.append(Loss("embedding", reason))
            return
        checks = _Checks.of(database, self._collection, self.read_up_to, listing)
        fitting = [
            candidate
            for candidate in self._candidates(catalog, listing, checks)
            if self._fits(candidate, checks)
        ]
        if len(fitting) != 1:
            reason = f"the index: the places of ids fit in {len(fitting)} ways, and were not used"
            self.losses.append(Loss("embedding", reason))
            return
        self._use(fitting[0])
        self._is_unchecked = not fitting[0].checked

    def _candidates(
        self, catalog: Catalog, listing: Listing, checks: _Checks
    ) -> Iterator[_Assignment]:
        if self._index is None:
            return
        own = self._collection.metadata_segment
        others = [rowids for segment, rowids in catalog.segments.items() if segment != own]
        other_rowids = np.sort(np.concatenate(others)) if others else np.zeros(0, np.int64)
        was_there = ~np.isin(listing.hashes, checks.born)
        hashes = listing.hashes[was_there]
        candidates = label_candidates(
            self._index.labels, listing.rowids[was_there], other_rowids, checks.max_left_over
        )
        for labels in candidates:
            yield _Assignment(LabelMap.of(hashes, labels))

    def _fits(self, candidate: _Assignment, checks: _Checks) -> bool:
        """Whether an assignment agrees with what is known of the map and of the vectors."""
        ours = candidate.labels.find(self._labels.hashes)
        is_known = ours > 0
        agreeing = int((ours == self._labels.labels)[is_known].sum())
        if agreeing < _AGREEING_LABELS * int(is_known.sum()) or self._index is None:
            return False
        labels = candidate.labels.find(checks.hashes)
        vectors = self._index.read(labels)
        for row in np.flatnonzero(vectors.is_found).tolist():
            if row not in vectors.doubts and not are_close(
                vectors.matrix[row], checks.vectors[row]
            ):
                return False
        candidate.checked = agreeing + int(vectors.is_found.sum())
        return True

    def _use(self, candidate: _Assignment) -> None:
        found = candidate.labels
        known = self._labels
        is_other = ~np.isin(known.labels, found.labels) & ~np.isin(known.hashes, found.hashes)
        self._labels = LabelMap.of(
            np.concatenate([found.hashes, known.hashes[is_other]]),
            np.concatenate([found.labels, known.labels[is_other]]),
        )
        self.has_whole_map = True


@dataclass(slots=True)
class _Assignment:
    """Labels for ids, and by how many of them they could be checked."""

    labels: LabelMap
    checked: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Checks:
    """What is known from the queue about the records in an index.

    Attributes:
        born: The ids that came after the index was last written.
        max_left_over: How many elements of the index may be without a record.
        hashes: Ids whose vectors are in the queue and in the index.
        vectors: The vectors of these ids.
    """

    born: Numbers
    max_left_over: int
    hashes: Numbers
    vectors: list[NDArray[np.float32]]

    @classmethod
    def of(
        cls,
        database: Database,
        collection: StoredCollection,
        read_up_to: int | None,
        listing: Listing,
    ) -> _Checks:
        queue = collection.queue
        since = queue.above(-1 if read_up_to is None else read_up_to)
        order = np.argsort(listing.hashes, kind="stable")
        changes = _last_changes(listing, order, queue.hashes)
        operations = queue.operations
        had_effect = queue.sequences <= changes
        is_creation = (operations == ADD) & had_effect | (operations == UPSERT) & had_effect
        born = np.unique(queue.hashes[since][is_creation[since]])
        is_removal = (operations[since] == DELETE) | (operations[since] == UPSERT)
        max_left_over = len(np.unique(queue.hashes[since][is_removal]))
        is_check = (queue.sequences == changes) & queue.have_embeddings
        is_check &= np.isin(operations, (ADD, UPDATE, UPSERT))
        is_check[since] = False
        places = np.flatnonzero(is_check)[-_MAX_CHECKS:]
        sequences = queue.sequences[places]
        content = dict(fetch(database, sequences.tolist(), with_metadata=False))
        found = [
            (hash, row.embedding)
            for hash, sequence in zip(queue.hashes[places], sequences.tolist(), strict=True)
            if (row := content.get(sequence)) is not None and row.embedding is not None
        ]
        hashes = np.array([hash for hash, _ in found], np.int64)
        return cls(born, max_left_over, hashes, [vector for _, vector in found])


def _last_changes(listing: Listing, order: Numbers, hashes: Numbers) -> Numbers:
    """Return the last changes of ids, or `UNKNOWN`."""
    if not len(order):
        return np.full(len(hashes), UNKNOWN, np.int64)
    ascending = listing.hashes[order]
    places = np.minimum(np.searchsorted(ascending, hashes), len(order) - 1)
    found: Numbers = np.where(
        ascending[places] == hashes, listing.last_changes[order[places]], UNKNOWN
    )
    return found


def _queue_has_all(queue: Queue, listing: Listing) -> bool:
    """Whether the queue has a vector of each record, so that the index is not needed."""
    with_vectors = queue.hashes[queue.have_embeddings]
    return bool(np.isin(listing.hashes, with_vectors).all())


def _name(error: OSError) -> str:
    return str(error.filename).rsplit("/", 1)[-1]
