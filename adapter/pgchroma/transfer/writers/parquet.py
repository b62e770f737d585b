"""Write a collection as Parquet, with columns for the keys of the metadata.

The column ``metadata`` has all metadata as JSON, without loss. The other columns are for programs
that read tables; `pgchroma` itself reads the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pgchroma.errors import ChromaError
from pgchroma.extras import load_extra
from pgchroma.model.records import RecordBatch
from pgchroma.transfer.file_format import DESCRIPTION, describe_collection, encode
from pgchroma.transfer.profile import ColumnKind, Profile
from pgchroma.transfer.source import SourceCollection
from pgchroma.transfer.writers.partial_file import partial_file

__all__ = ("ParquetWriter",)

MAX_COLUMNS: Final = 500
"""Keys of the metadata that get a column; all of them are in the JSON."""

ROWS_PER_GROUP: Final = 10_000
BYTES_PER_GROUP: Final = 16 << 20

_OWN: Final = frozenset({"id", "document", "uri", "embedding", "metadata", "x", "y"})


class ParquetWriter:
    """Writes one file."""

    def __init__(self, path: Path, collection: SourceCollection, profile: Profile) -> None:
        """Make a writer.

        Args:
            path: The file.
            collection: Its description becomes the file's metadata.
            profile: What a first pass over the records found.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        self._arrow = load_extra("pyarrow", "arrow")
        self._parquet = load_extra("pyarrow.parquet", "arrow")
        self._path = path
        self._profile = profile
        self._columns = profile.columns(MAX_COLUMNS)
        self._schema = self._make_schema(collection)
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        width = 4 * (profile.dimension or 1)
        self._rows_per_group = max(1, min(ROWS_PER_GROUP, BYTES_PER_GROUP // width))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the file under a temporary name."""
        with ExitStack() as stack:
            file = stack.enter_context(partial_file(self._path))
            self._writer = self._parquet.ParquetWriter(
                file, self._schema, compression="zstd", use_dictionary=self._repeating()
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        """Complete the file and give it its name, unless there was an error."""
        if exception[0] is not None:
            return self._stack.__exit__(*exception)
        try:
            self._flush()
            self._writer.close()
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self._stack.__exit__(None, None, None)

    def write(self, records: RecordBatch) -> None:
        """Write records."""
        self._waiting.append(self._record_batch(records))
        self._waiting_rows += len(records)
        if self._waiting_rows >= self._rows_per_group:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = self._arrow.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(table, row_group_size=self._rows_per_group)
        self._waiting, self._waiting_rows = [], 0

    def _repeating(self) -> list[str]:
        """Return the columns whose values may repeat; of the others, a dictionary is no use."""
        names = (_column_name(key) for key, kind in self._columns.items() if kind == "string")
        return list(names)

    def _make_schema(self, collection: SourceCollection) -> Any:
        arrow = self._arrow
        types: dict[ColumnKind, Any] = {
            "bool": arrow.bool_(), "int": arrow.int64(), "float": arrow.float64(),
            "string": arrow.string(), "bools": arrow.list_(arrow.bool_()),
            "ints": arrow.list_(arrow.int64()), "floats": arrow.list_(arrow.float64()),
            "strings": arrow.list_(arrow.string()), "json": arrow.string(),
        }  # fmt: skip
        width = self._profile.dimension
        vectors = arrow.list_(arrow.float32(), width) if width else arrow.list_(arrow.float32())
        fields = [
            arrow.field("id", arrow.string(), nullable=False),
            arrow.field("document", arrow.string()),
            arrow.field("uri", arrow.string()),
            arrow.field("embedding", vectors),
        ]
        if self._profile.projection is not None:
            fields += [arrow.field("x", arrow.float32()), arrow.field("y", arrow.float32())]
        fields += [
            arrow.field(_column_name(key), types[kind]) for key, kind in self._columns.items()
        ]
        fields.append(arrow.field("metadata", arrow.string()))
        description = describe_collection(collection, None)
        description["columns"] = {key: _column_name(key) for key in self._columns}
        return arrow.schema(fields, metadata={DESCRIPTION: encode(description)})

    def _record_batch(self, records: RecordBatch) -> Any:
        arrow = self._arrow
        empty = [None] * len(records)
        metadatas = records.metadatas or empty
        columns: dict[str, Any] = {
            "id": records.ids,
            "document": records.documents or empty,
            "uri": records.uris or empty,
            "metadata": [None if not each else encode(each).decode() for each in metadatas],
        }
        for key, kind in self._columns.items():
            values = (None if each is None else each.get(key) for each in metadatas)
            columns[_column_name(key)] = [_fitting(value, kind) for value in values]
        arrays = {
            name: arrow.array(values, self._schema.field(name).type)
            for name, values in columns.items()
        }
        arrays["embedding"] = self._vectors(records)
        if self._profile.projection is not None:
            arrays |= self._coordinates(records)
        return arrow.record_batch([arrays[name] for name in self._schema.names], self._schema)

    def _vectors(self, records: RecordBatch) -> Any:
        kind = self._schema.field("embedding").type
        if records.embeddings is None:
            return self._arrow.nulls(len(records), kind)
        if records.dimension != self._profile.dimension:
            raise ChromaError(f"{self._path}: the collection changed while it was read")
        matrix, is_missing = _spread(records, records.embeddings)
        return self._arrow.FixedSizeListArray.from_arrays(
            self._arrow.array(matrix.reshape(-1)),
            type=kind,
            mask=None if is_missing is None else self._arrow.array(is_missing),
        )

    def _coordinates(self, records: RecordBatch) -> dict[str, Any]:
        projection = self._profile.projection
        if records.embeddings is None or projection is None:
            nulls = self._arrow.nulls(len(records), self._arrow.float32())
            return {"x": nulls, "y": nulls}
        matrix, is_missing = _spread(records, projection.coordinates(records.embeddings))
        return {
            name: self._arrow.array(np.ascontiguousarray(matrix[:, n]), mask=is_missing)
            for n, name in enumerate(("x", "y"))
        }


def _spread(
    records: RecordBatch, rows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return one row for each record, and which records have none; `None` if all have one."""
    if records.has_embedding is None:
        return rows, None
    is_there = np.array(records.has_embedding)
    matrix = np.zeros((len(records), rows.shape[1]), dtype=np.float32)
    matrix[is_there] = rows
    return matrix, ~is_there


def _column_name(key: str) -> str:
    return f"metadata.{key}" if key in _OWN else key


def _fitting(value: Any, kind: ColumnKind) -> Any:
    """Return a value for a column of a kind; it has one of another only if records changed."""
    if value is None:
        return None
    if kind == "json":
        return encode(value).decode()
    expected = _TYPES[kind]
    if kind in ("bools", "ints", "floats", "strings"):
        fits = isinstance(value, list) and all(type(each) in expected for each in value)
    else:
        fits = type(value) in expected
    return value if fits else None


_TYPES: Final[Mapping[ColumnKind, Sequence[type]]] = {
    "bool": (bool,), "int": (int,), "float": (float, int), "string": (str,),
    "bools": (bool,), "ints": (int,), "floats": (float, int), "strings": (str,),
}  # fmt: skip
