"""Transfer collections of a source into a backend.

A collection is written under a temporary name, verified, and then renamed: an incomplete collection
is never visible under its real name. All progress is in the target. If a transfer is interrupted,
the same command finds the collection under its temporary name and continues after its last record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pgchroma.errors import (
    ChromaError,
    InvalidArgumentError,
    UniqueConstraintError,
)
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.names import check_name
from pgchroma.model.operations import CollectionRef
from pgchroma.model.records import RecordBatch, RecordColumns
from pgchroma.transfer.batches import select, without
from pgchroma.transfer.checksums import PARTS
from pgchroma.transfer.comparison import Comparison
from pgchroma.transfer.missing_embeddings import MissingEmbeddings
from pgchroma.transfer.naming import replaced_name, temporary_name
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.prefetching import prefetched
from pgchroma.transfer.preparing import Prepared, Preparer, repeated, with_embeddings_only
from pgchroma.transfer.reader_process import MIN_RECORDS, Reopenable, read_elsewhere
from pgchroma.transfer.report import CollectionReport
from pgchroma.transfer.seen_ids import SeenIds
from pgchroma.transfer.source import Loss, Source, SourceCollection
from pgchroma.transfer.verification import (
    Sample,
    checksums_of,
    checksums_of_columns,
    compare_distances,
)
from pgchroma.transfer.writers.backend import BackendTarget, ref_of

__all__ = (
    "Advance",
    "Assignment",
    "check_existing",
    "check_names",
    "import_collection",
    "names_of_existing",
)

Advance = Callable[[int], None]
"""Told how many more records were read."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A collection of a source, and where it is written to."""

    collection: SourceCollection
    scope: DatabaseRef
    name: str

    @property
    def source_name(self) -> str:
        """The collection's name in the source."""
        return _qualified(self.collection.tenant, self.collection.database, self.collection.name)

    @property
    def target_name(self) -> str:
        """The collection's name in the target."""
        return _qualified(self.scope.tenant, self.scope.database, self.name)

    def report(self) -> CollectionReport:
        """Return a report of nothing yet."""
        return CollectionReport(self.source_name, self.target_name)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A batch on its way from the reader to the writer.

    Attributes:
        read: How many records of the source it comes from.
        suspects: The positions of records whose ids have probably occurred before.
        embedded: How many embeddings were computed.
    """

    records: RecordBatch
    read: int
    losses: list[Loss]
    suspects: list[int]
    embedded: int


class _OtherRecordsError(Exception):
    """The collection under the temporary name has other records than the source."""


def check_names(assignments: Sequence[Assignment]) -> None:
    """Raise if collections cannot have the names that they are to get.

    Raises:
        InvalidArgumentError: A name is not allowed, or two collections have the same.
    """
    taken: dict[tuple[DatabaseRef, str], Assignment] = {}
    for each in assignments:
        try:
            check_name(each.name)
        except InvalidArgumentError as error:
            where, advice = "--as", ""
            if each.name == each.collection.name:
                where = f"collection {each.name!r} of the source"
                advice = "; choose another name with --as"
            raise InvalidArgumentError(f"{where}: {error.message()}{advice}") from error
        if other := taken.get((each.scope, each.name)):
            raise InvalidArgumentError(
                f"{other.source_name} and {each.source_name} would both become {each.target_name}"
            )
        taken[each.scope, each.name] = each


def check_existing(
    source: Source,
    target: BackendTarget,
    assignments: Sequence[Assignment],
    options: TransferOptions,
) -> list[CollectionReport | None]:
    """Raise if collections exist and the options refuse that; nothing is written.

    If only some of the collections exist, an earlier run may have been interrupted after it
    completed them. Those that have the same records as the source are then done.

    Returns:
        For each assignment the report of a collection that is done, or `None`.

    Raises:
        UniqueConstraintError: A collection exists.
    """
    done: list[CollectionReport | None] = [None] * len(assignments)
    if options.existing != "refuse":
        return done
    found = [target.find(each.scope, each.name) for each in assignments]
    refused = []
    for n, (each, existing) in enumerate(zip(assignments, found, strict=True)):
        if existing is None:
            continue
        if None in found:
            transfer = _CollectionImport(source, target, each, options, each.report())
            done[n] = transfer.report_if_same(existing)
        if done[n] is None:
            refused.append(each.target_name)
    if refused:
        verb = "exist" if len(refused) > 1 else "exists"
        raise UniqueConstraintError(
            f"{', '.join(refused)} {verb} already; choose with --existing skip, add or replace "
            "what happens"
        )
    return done


def names_of_existing(target: BackendTarget, assignments: Sequence[Assignment]) -> list[str]:
    """Return the names, in the target, of the collections that exist there."""
    return [each.target_name for each in assignments if target.find(each.scope, each.name)]


def import_collection(
    source: Source,
    target: BackendTarget,
    assignment: Assignment,
    options: TransferOptions,
    advance: Advance = lambda count: None,
    report: CollectionReport | None = None,
) -> CollectionReport:
    """Transfer one collection.

    Args:
        source: The source, which is open.
        target: Where the collection is written to.
        assignment: The collection, and its name there.
        options: What the user chose.
        advance: Told how many more records were read.
        report: What is returned; it also says how far a transfer came that fails.

    Raises:
        ChromaError: The source cannot be read, or the target not be written to. What was written
            stays, and the same call continues there.
    """
    report = report or assignment.report()
    try:
        return _CollectionImport(source, target, assignment, options, report, advance).run()
    except BaseException as error:
        report.fail(error)
        if not isinstance(error, ChromaError):
            raise
        raise ChromaError(
            f"{error.message().rstrip('.')}. The records that were written are kept: the same "
            "command continues there"
        ) from error


class _CollectionImport:
    """The transfer of one collection."""

    def __init__(
        self,
        source: Source,
        target: BackendTarget,
        assignment: Assignment,
        options: TransferOptions,
        report: CollectionReport,
        advance: Advance = lambda count: None,
    ) -> None:
        self._source = source
        self._target = target
        self._collection = assignment.collection
        self._scope = assignment.scope
        self._name = assignment.name
        self._options = options
        self._advance = advance
        self._report = report
        identity = (source.describe(), self._collection.key, *options.digested())
        self._temporary = temporary_name(self._name, identity)
        self._set_aside = replaced_name(self._name, identity)

    def run(self) -> CollectionReport:
        existing = self._target.find(self._scope, self._name)
        if existing is not None and self._options.existing == "skip":
            self._report.status = "skipped"
            return self._report
        self._target.make_database(self._scope)
        if existing is not None and self._options.existing == "add":
            return self._add_to(existing)
        made = self._complete()
        if made is not None:
            self._publish(made, existing)
        return self._report

    def report_if_same(self, existing: CollectionModel) -> CollectionReport | None:
        """Return a report if a collection has the records of the source, else `None`."""
        ref = ref_of(existing)
        count = self._target.count(ref)
        begin = time.monotonic()
        total = 0
        with prefetched(self._pieces(self._collection.dimension)) as pieces:
            for piece in pieces:
                kept, losses = self._without_repeated(ref, piece)
                total += len(kept)
                self._count(piece, losses)
                if total > count or self._difference(ref, kept) is not None:
                    return None
        if total < count:
            return None
        self._report.written = self._report.resumed = count
        self._report.verified = PARTS
        self._report.verification_seconds = time.monotonic() - begin
        return self._report

    def _complete(self) -> CollectionRef | None:
        """Write and verify the collection; return `None` if it differs from the source."""
        try:
            made = self._fill_and_verify()
            if not self._is_different or not self._report.resumed:
                return self._verified(made)
        except _OtherRecordsError:
            pass
        # What an earlier run has written is not what the source has now.
        self._target.delete(self._scope, self._temporary)
        self._report.clear()
        return self._verified(self._fill_and_verify())

    def _verified(self, made: CollectionRef) -> CollectionRef | None:
        if not self._is_different:
            return made
        self._report.status = "unverified"
        self._report.target = _qualified(self._scope.tenant, self._scope.database, self._temporary)
        return None

    @property
    def _is_different(self) -> bool:
        return bool(self._report.differing or self._report.wrong_distances)

    def _fill_and_verify(self) -> CollectionRef:
        model, losses = self._target.make(self._scope, self._temporary, self._collection)
        self._report.losses += losses
        ref, space = ref_of(model), model.configuration.hnsw.space
        begin = time.monotonic()
        sample, comparison = Sample(), Comparison(space)
        self._fill(ref, sample, comparison)
        written = time.monotonic()
        self._report.seconds = written - begin
        self._report.verified = PARTS
        if self._target.count(ref) != self._report.written:
            comparison.differing.add("ids")
        self._report.losses += comparison.losses
        self._report.differing = tuple(sorted(comparison.differing))
        self._report.distances, self._report.wrong_distances = compare_distances(
            self._target, ref, sample, space
        )
        self._report.verification_seconds = time.monotonic() - written
        return ref

    def _fill(self, ref: CollectionRef, sample: Sample, comparison: Comparison) -> None:
        """Write the records that are not there yet, and compare all of them with the target's.

        A batch is read back and compared while the next one is written.
        """
        done = self._target.count(ref)
        last = self._target.id_at(ref, done - 1) if done else None
        self._report.resumed = done
        with (
            prefetched(self._pieces(self._collection.dimension)) as pieces,
            ThreadPoolExecutor(1) as executor,
        ):
            comparing: Future[None] | None = None
            for piece in pieces:
                kept, losses = self._without_repeated(ref, piece)
                unsent = self._unsent(kept.ids, self._report.written, done, last)
                refused = self._target.add(ref, kept.part(unsent, len(kept)))
                losses += [
                    Loss("record", f"the target refuses it: {each.reason}",
                         kept.ids[unsent + each.position])
                    for each in refused
                ]  # fmt: skip
                kept = without(kept, [unsent + each.position for each in refused])
                if comparing is not None:
                    comparing.result()
                comparing = executor.submit(self._compare, ref, kept, comparison)
                self._report.written += len(kept)
                sample.add(kept)
                self._count(piece, losses)
            if comparing is not None:
                comparing.result()
        if self._report.written < done:
            raise _OtherRecordsError

    def _compare(self, ref: CollectionRef, records: RecordBatch, comparison: Comparison) -> None:
        stored = self._difference(ref, records)
        if stored is not None:
            comparison.add(records, stored)

    def _difference(self, ref: CollectionRef, records: RecordBatch) -> RecordColumns | None:
        """Return the records as the target stores them, or `None` if they are the same."""
        if not len(records):
            return None
        stored = self._target.records(ref, records.ids)
        is_different = checksums_of(records).differing(checksums_of_columns(stored))
        return stored if is_different else None

    def _unsent(self, ids: Sequence[str], position: int, done: int, last: str | None) -> int:
        """Return how many of these ids the target has.

        Args:
            ids: The ids of consecutive records.
            position: The number of records before them.
            done: The number of records that the target had at first.
            last: The id of the last of these.

        Raises:
            _OtherRecordsError: The record at that position is another one.
        """
        count = min(max(done - position, 0), len(ids))
        if count and position + count == done and ids[count - 1] != last:
            raise _OtherRecordsError
        return count

    def _without_repeated(
        self, ref: CollectionRef, piece: _Piece
    ) -> tuple[RecordBatch, list[Loss]]:
        """Leave out the records whose ids earlier records of the source have."""
        suspects = [piece.records.ids[n] for n in piece.suspects]
        if not suspects:
            return piece.records, list(piece.losses)
        # The hashes of two ids may be equal; the target has the earlier records.
        stored = self._target.existing_ids(ref, suspects)
        places = [n for n in piece.suspects if piece.records.ids[n] in stored]
        losses = repeated([piece.records.ids[n] for n in places])
        return without(piece.records, places), [*piece.losses, *losses]

    def _pieces(self, dimension: int | None) -> Iterator[_Piece]:
        """Read and prepare the records; this runs in the reader's thread."""
        preparer = Preparer(dimension, self._options.nested)
        missing = (
            MissingEmbeddings(self._collection, self._options.embedding_function)
            if self._options.is_embedding
            else None
        )
        seen = SeenIds()
        for read in self._read(preparer):
            prepared, embedded = read, 0
            if missing is not None:
                prepared, embedded = missing.fill(read, preparer.dimension)
                if preparer.dimension is None:
                    preparer.dimension = prepared.records.dimension
            records, losses = prepared.records, prepared.losses
            if not self._target.takes_missing_embeddings:
                records, missed = with_embeddings_only(records)
                losses = [*losses, *missed]
            yield _Piece(
                records,
                prepared.read,
                losses,
                seen.add(records.ids),
                embedded,
            )

    def _read(self, preparer: Preparer) -> Iterator[Prepared]:
        """Yield prepared batches, of a large collection from a process of their own."""
        size = self._target.batch_size(self._options.batch_size)
        is_large = (self._collection.count or 0) >= MIN_RECORDS
        # Embeddings that are computed here may set the dimension for the batches that follow.
        if is_large and not self._options.is_embedding and isinstance(self._source, Reopenable):
            opener = self._source.opener()
            if opener is not None:
                yield from read_elsewhere(opener, self._collection, size, preparer)
                return
        for batch in self._source.batches(self._collection, size):
            yield preparer.prepare(batch)

    def _count(self, piece: _Piece, losses: list[Loss]) -> None:
        self._report.read += piece.read
        self._report.embedded += piece.embedded
        self._report.losses += losses
        self._advance(piece.read)

    def _publish(self, made: CollectionRef, existing: CollectionModel | None) -> None:
        """Give the collection its real name."""
        replaces = existing is not None and self._target.replaces_at_once
        if existing is not None and not replaces:
            # One that was set aside earlier has been replaced; its deletion was interrupted.
            self._target.delete(self._scope, self._set_aside)
            self._target.rename(ref_of(existing), self._set_aside)
        try:
            if existing is not None and replaces:
                self._target.replace(existing, made)
            else:
                self._target.rename(made, self._name)
        except BaseException:
            if not self._is_published(made):
                if existing is not None and not replaces:
                    self._target.rename(ref_of(existing), self._name)
                raise
        if self._options.existing == "replace":
            self._target.delete(self._scope, self._set_aside)

    def _is_published(self, made: CollectionRef) -> bool:
        """Whether the collection has its name: a lost answer, or another transfer gave it."""
        found = self._target.find(self._scope, self._name)
        return found is not None and found.id == made.id

    def _add_to(self, existing: CollectionModel) -> CollectionReport:
        """Add the records to a collection that exists; those that are there stay as they are."""
        ref = ref_of(existing)
        self._report.status = "added"
        self._report.existing = self._target.count(ref)
        begin = time.monotonic()
        with prefetched(self._pieces(existing.dimension or self._collection.dimension)) as pieces:
            for piece in pieces:
                self._count(piece, [*piece.losses, *self._add_piece(ref, piece)])
        self._report.seconds = time.monotonic() - begin
        self._report.written = self._target.count(ref) - self._report.existing
        self._report.verified = PARTS
        return self._report

    def _add_piece(self, ref: CollectionRef, piece: _Piece) -> list[Loss]:
        """Add records, and return those that are not in the target as they are in the source."""
        refused = self._target.add(ref, piece.records)
        losses = [
            Loss("record", f"the target refuses it: {each.reason}",
                 piece.records.ids[each.position])
            for each in refused
        ]  # fmt: skip
        kept = without(piece.records, [each.position for each in refused])
        if self._difference(ref, kept) is None:
            return losses
        reason = "the collection has another record with its id, which was kept"
        for n, id in enumerate(kept.ids):
            if self._difference(ref, select(kept, [n])) is not None:
                losses.append(Loss("record", reason, id))
        return losses


def _qualified(tenant: str, database: str, name: str) -> str:
    return f"{tenant}/{database}/{name}"
