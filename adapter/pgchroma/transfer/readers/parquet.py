"""Read Parquet files: pgchroma's own, and those of other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import ChromaError, InvalidArgumentError
from pgchroma.extras import load_extra
from pgchroma.transfer.file_format import DESCRIPTION, read_description
from pgchroma.transfer.readers.columns import Columns, Role, find_columns
from pgchroma.transfer.source import Loss, SourceBatch, SourceCollection

__all__ = ("ParquetFile",)

BUFFER_BYTES: Final = 1 << 20
"""Bytes read at once from a column of a row group, which may be as large as the file."""


class ParquetFile:
    """The collection of a Parquet file."""

    def __init__(self, path: Path, chosen: Mapping[Role, str], name: str) -> None:
        """Open a file.

        Args:
            path: The file.
            chosen: The columns that the user has chosen for parts of a record.
            name: The collection's name, if the file does not have one.

        Raises:
            MissingExtraError: pyarrow is not installed.
            ChromaError: The file is not a complete Parquet file, or has no column of ids.
        """
        self._path = path
        self._parquet = load_extra("pyarrow.parquet", "arrow")
        self._arrow = load_extra("pyarrow", "arrow")
        with self._reading("the end of the file") as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        described = (schema.metadata or {}).get(DESCRIPTION.encode())
        self._is_ours = described is not None
        if described is None:
            self._columns = self._found(schema, chosen)
            self.collection = SourceCollection(str(path), name, count=rows)
        else:
            self._columns = Columns("id", "embedding", "document", "uri", "metadata", ())
            self.collection = self._described(described)
        wanted = (
            self._columns.id, self._columns.embedding, self._columns.document, self._columns.uri,
            self._columns.metadata, *self._columns.others,
        )  # fmt: skip
        self._names = [name for name in wanted if name is not None]

    def batches(self, size: int, skip: int) -> Iterator[SourceBatch]:
        """Yield the records in the order of the rows."""
        read = 0
        with self._reading(lambda: f"the rows after {read}") as file:
            # This runs beside the writer already, and more threads take more memory.
            for rows in file.iter_batches(size, columns=self._names, use_threads=False):
                first = min(max(skip - read, 0), rows.num_rows)
                read += rows.num_rows
                if first < rows.num_rows:
                    yield self._batch(rows.slice(first), read - rows.num_rows + first)

    def _batch(self, rows: Any, position: int) -> SourceBatch:
        columns, losses = self._columns, list[Loss]()
        given = rows.column(columns.id).to_pylist()
        present = [n for n, id in enumerate(given) if id is not None]
        if len(present) < len(given):
            losses += [
                Loss("record", f"{self._path.name}, row {position + n + 1}: it has no id")
                for n, id in enumerate(given)
                if id is None
            ]
            rows = rows.take(self._arrow.array(present))
        ids = [str(given[n]) for n in present]
        empty = [None] * len(ids)

        def values(column: str | None) -> list[Any]:
            return empty if column is None else rows.column(column).to_pylist()

        embeddings = (
            empty if columns.embedding is None else _embeddings(rows.column(columns.embedding))
        )
        metadatas = self._metadatas(rows, ids, losses)
        return SourceBatch(
            ids, embeddings, values(columns.document), values(columns.uri), metadatas, losses
        )

    def _metadatas(
        self, rows: Any, ids: list[str], losses: list[Loss]
    ) -> list[Mapping[str, Any] | None]:
        columns = self._columns
        found: list[Any] = [None] * len(ids)
        if columns.metadata is not None:
            found = rows.column(columns.metadata).to_pylist()
            found = [
                self._parsed(value, id, losses) if isinstance(value, str | bytes) else value
                for value, id in zip(found, ids, strict=True)
            ]
        if columns.others:
            others = rows.select(columns.others).to_pylist()
            found = [{**(own or {}), **more} for own, more in zip(found, others, strict=True)]
        return found

    def _parsed(self, text: str | bytes, id: str, losses: list[Loss]) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            losses.append(Loss("metadata", f"the column of metadata is not JSON: {error}", id))
            return None

    def _found(self, schema: Any, chosen: Mapping[Role, str]) -> Columns:
        columns = find_columns(schema.names, chosen, str(self._path))
        types = self._arrow.types
        if columns.embedding is not None:
            kind = schema.field(columns.embedding).type
            is_list = any(
                check(kind)
                for check in (types.is_list, types.is_large_list, types.is_fixed_size_list)
            )
            if not is_list:
                raise InvalidArgumentError(
                    f"{self._path}: column {columns.embedding!r} has values of type {kind}, not "
                    "lists of numbers; name another one with --column embedding=NAME"
                )
        return columns

    def _described(self, described: bytes) -> SourceCollection:
        try:
            return read_description(orjson.loads(described), str(self._path))
        except (orjson.JSONDecodeError, InvalidArgumentError) as error:
            raise InvalidArgumentError(f"{self._path}: {error}") from error

    @contextmanager
    def _reading(self, part: Any) -> Iterator[Any]:
        errors = (OSError, self._arrow.ArrowException)
        try:
            with self._parquet.ParquetFile(
                self._path, buffer_size=BUFFER_BYTES, pre_buffer=False
            ) as file:
                yield file
        except errors as error:
            place = part() if callable(part) else part
            reason = " ".join(str(error).split())[:300]
            raise ChromaError(
                f"{self._path} is damaged or not complete: {place} cannot be read: {reason}"
            ) from error


def _embeddings(column: Any) -> list[NDArray[np.float32] | None]:
    """Return the vectors of a column of lists."""
    if hasattr(column, "value_lengths"):
        counts = column.value_lengths().to_pylist()
    else:
        width = column.type.list_size
        counts = [width if is_valid else None for is_valid in column.is_valid().to_pylist()]
    with np.errstate(over="ignore"):
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors: list[NDArray[np.float32] | None] = []
    position = 0
    for count in counts:
        if count is None:
            vectors.append(None)
        else:
            vectors.append(values[position : position + count])
            position += count
    return vectors
