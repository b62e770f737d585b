"""Write collections of a source to files, and compare the files with the source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, get_args

from pgchroma.model.records import RecordBatch
from pgchroma.transfer.checksums import PARTS, Checksums
from pgchroma.transfer.coordinates import Projection
from pgchroma.transfer.importing import Advance
from pgchroma.transfer.prefetching import prefetched
from pgchroma.transfer.preparing import Prepared, Preparer
from pgchroma.transfer.profile import Profile
from pgchroma.transfer.readers.files import FilesSource
from pgchroma.transfer.report import CollectionReport
from pgchroma.transfer.source import Source, SourceCollection
from pgchroma.transfer.verification import checksums_of
from pgchroma.transfer.writers.jsonl import JsonLinesWriter
from pgchroma.transfer.writers.parquet import ParquetWriter

__all__ = ("FORMATS", "Format", "export_collection", "report_of")

Format: TypeAlias = Literal["parquet", "jsonl", "jsonl.gz"]
"""The format of a file, which is also how its name ends."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

BATCH: Final = 1_000


class _Writer(Protocol):
    """Writes a file in a context."""

    def write(self, records: RecordBatch) -> None: ...


def export_collection(
    source: Source,
    collection: SourceCollection,
    path: Path,
    format: Format,
    *,
    has_coordinates: bool = False,
    advance: Advance = lambda count: None,
    report: CollectionReport | None = None,
) -> CollectionReport:
    """Write one collection to a file, which replaces one of the same name.

    Parquet takes two passes over the records: the first finds the columns.

    Args:
        source: The source, which is open.
        collection: One of its collections.
        path: The file.
        format: The file's format.
        has_coordinates: Whether Parquet gets the coordinates ``x`` and ``y`` of embeddings.
        advance: Told how many more records were read.
        report: What is returned; it also says how far an export came that fails.

    Raises:
        ChromaError: The source cannot be read, or the file not be written.
        MissingExtraError: pyarrow is not installed.
    """
    report = report or report_of(collection, path)
    try:
        writer = _writer(source, collection, path, format, has_coordinates)
        _export(source, collection, path, writer, advance, report)
    except BaseException as error:
        report.fail(error)
        raise
    return report


def report_of(collection: SourceCollection, path: Path) -> CollectionReport:
    """Return a report of nothing yet."""
    name = f"{collection.tenant}/{collection.database}/{collection.name}"
    return CollectionReport(name, str(path))


def _export(
    source: Source,
    collection: SourceCollection,
    path: Path,
    writer: AbstractContextManager[_Writer],
    advance: Advance,
    report: CollectionReport,
) -> None:
    begin = time.monotonic()
    total = Checksums()
    with writer as file, prefetched(_prepared(source, collection)) as ready:
        for prepared in ready:
            file.write(prepared.records)
            total += checksums_of(prepared.records)
            report.read += prepared.read
            report.losses += prepared.losses
            advance(prepared.read)
    written = time.monotonic()
    report.written = total.count
    report.seconds = written - begin
    report.verified = PARTS
    report.differing = total.differing(_read_back(path))
    report.verification_seconds = time.monotonic() - written


def _writer(
    source: Source,
    collection: SourceCollection,
    path: Path,
    format: Format,
    has_coordinates: bool,
) -> AbstractContextManager[_Writer]:
    if format != "parquet":
        return JsonLinesWriter(path, collection)
    profile = Profile(projection=Projection() if has_coordinates else None)
    with prefetched(_prepared(source, collection)) as ready:
        for prepared in ready:
            profile.add(prepared.records)
    return ParquetWriter(path, collection, profile)


def _prepared(source: Source, collection: SourceCollection) -> Iterator[Prepared]:
    preparer = Preparer(collection.dimension)
    for batch in source.batches(collection, BATCH):
        yield preparer.prepare(batch)


def _read_back(path: Path) -> Checksums:
    total = Checksums()
    with FilesSource(path, [path], {}) as source:
        (collection,) = source.collections()
        with prefetched(source.batches(collection, BATCH)) as ready:
            for batch in ready:
                total += Checksums.of(
                    batch.ids, batch.embeddings, batch.documents, batch.uris, batch.metadatas
                )
    return total
