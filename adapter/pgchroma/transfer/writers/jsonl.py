"""Write a collection as JSON Lines: a line that describes the collection, then one per record."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, Self

from pgchroma.model.records import RecordBatch
from pgchroma.transfer.batches import embeddings_of
from pgchroma.transfer.file_format import DESCRIPTION, describe_collection, encode
from pgchroma.transfer.source import SourceCollection
from pgchroma.transfer.writers.partial_file import partial_file

__all__ = ("JsonLinesWriter",)

_ROOM: Final = 20
"""Characters of the first line in which the count grows: it is known when all records are there."""


class JsonLinesWriter:
    """Writes one file, compressed if its name ends with ``.gz``.

    The first line has the number of records, so that a file that was cut off is noticed. In a
    compressed file it is null, because gzip notices that itself.
    """

    def __init__(self, path: Path, collection: SourceCollection) -> None:
        self._path = path
        self._collection = collection
        self._is_compressed = path.name.endswith(".gz")
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        """Open the file under a temporary name."""
        with ExitStack() as stack:
            self._file: IO[bytes] = stack.enter_context(partial_file(self._path))
            self._lines: Any = self._file
            if self._is_compressed:
                self._lines = stack.enter_context(gzip.open(self._file, "wb", compresslevel=6))
            self._room = len(self._first_line(None)) + _ROOM
            self._lines.write(self._first_line(None).ljust(self._room) + b"\n")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        """Complete the file and give it its name, unless there was an error."""
        if exception[0] is None and not self._is_compressed:
            self._file.seek(0)
            self._file.write(self._first_line(self._count).ljust(self._room))
        return self._stack.__exit__(*exception)

    def write(self, records: RecordBatch) -> None:
        """Write records."""
        columns = (
            ("embedding", embeddings_of(records)), ("document", records.documents),
            ("uri", records.uris), ("metadata", records.metadatas),
        )  # fmt: skip
        lines = []
        for n, id in enumerate(records.ids):
            record: dict[str, Any] = {"id": id}
            for name, values in columns:
                if values is not None and values[n] is not None:
                    record[name] = values[n]
            lines.append(encode(record))
        self._lines.write(b"\n".join([*lines, b""]))
        self._count += len(records)

    def _first_line(self, count: int | None) -> bytes:
        return encode({DESCRIPTION: describe_collection(self._collection, count)})
