"""Read JSON Lines: one record a line, after a line with the collection if pgchroma wrote the file.

A line that is no record is left out and reported with its number; the others are read.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import ChromaError, InvalidArgumentError
from pgchroma.transfer.file_format import DESCRIPTION, read_description
from pgchroma.transfer.readers.columns import ROLES, Role, find_columns, possible_names
from pgchroma.transfer.source import Loss, SourceBatch, SourceCollection

__all__ = ("JsonLinesFile",)

_Names: TypeAlias = Mapping[Role, tuple[str, ...]]
"""The keys that a part of a record may have. A record may lack any key but the id."""

_OURS: Final[_Names] = {role: (role,) for role in ROLES}


class JsonLinesFile:
    """The collection of a file of JSON Lines, which may be compressed with gzip."""

    def __init__(self, path: Path, chosen: Mapping[Role, str], name: str) -> None:
        """Open a file.

        Args:
            path: The file.
            chosen: The keys that the user has chosen for parts of a record.
            name: The collection's name, if the file does not have one.

        Raises:
            ChromaError: The file cannot be read, or its first line is no record.
        """
        self._path = path
        self.collection = SourceCollection(str(path), name)
        self._names: _Names = _OURS
        self._has_description = False
        with self._reading() as lines:
            first = next((line for line in lines if line.strip()), b"")
        self._read_first(first, chosen)

    def batches(self, size: int, skip: int) -> Iterator[SourceBatch]:
        """Yield the records in the order of the lines."""
        batch, count, left = _Batch(), 0, skip
        with self._reading() as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or (number == 1 and self._has_description):
                    continue
                record = self._record(batch, number, line)
                if record is None:
                    continue
                count += 1
                if left:
                    left -= 1
                    continue
                batch.append(record, self._names)
                if len(batch.ids) == size:
                    yield batch.finished()
                    batch = _Batch()
        expected = self.collection.count
        if expected is not None and count != expected:
            reason = f"{self._path.name} is cut off: it has {count:,} of {expected:,} records"
            batch.losses.append(Loss("collection", reason))
        yield batch.finished()

    def _read_first(self, line: bytes, chosen: Mapping[Role, str]) -> None:
        if not line:
            return
        try:
            first = _parse(line)
        except ValueError as error:
            raise InvalidArgumentError(f"{self._path}, line 1: it is not JSON: {error}") from error
        if not isinstance(first, dict):
            raise InvalidArgumentError(f"{self._path}, line 1: it is not a JSON object")
        description = first.get(DESCRIPTION)
        if isinstance(description, dict) and "version" in description:
            self._has_description = True
            try:
                self.collection = read_description(description, str(self._path))
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"{self._path}: {error.message()}") from error
        else:
            self._names = possible_names(chosen)
            if not any(name in first for name in self._names["id"]):
                id: dict[Role, str] = {"id": chosen["id"]} if "id" in chosen else {}
                find_columns(first.keys(), id, str(self._path))

    def _record(self, batch: _Batch, number: int, line: bytes) -> dict[str, Any] | None:
        """Return the record of a line, or add to the losses."""
        try:
            record = _parse(line)
        except ValueError as error:
            batch.losses.append(self._fault(number, f"it is not JSON ({error})"))
            return None
        ids = self._names["id"]
        if not isinstance(record, dict) or all(record.get(name) is None for name in ids):
            batch.losses.append(self._fault(number, f"it has no {ids[0]!r}"))
            return None
        return record

    def _fault(self, number: int, reason: str) -> Loss:
        return Loss("record", f"{self._path.name}, line {number}: {reason}")

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        try:
            with self._path.open("rb") as file:
                is_compressed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                if is_compressed:
                    with gzip.open(file) as lines:
                        yield lines  # type: ignore[misc]
                else:
                    yield file
        except EOFError as error:
            raise ChromaError(f"{self._path} is cut off: {error}") from error
        except (OSError, zlib.error) as error:
            raise ChromaError(f"{self._path} cannot be read: {error}") from error


@dataclass(slots=True)
class _Batch:
    """The columns of a batch, as they grow."""

    ids: list[str] = field(default_factory=list)
    embeddings: list[NDArray[np.float32] | None] = field(default_factory=list)
    documents: list[str | None] = field(default_factory=list)
    uris: list[str | None] = field(default_factory=list)
    metadatas: list[Mapping[str, Any] | None] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def append(self, record: dict[str, Any], names: _Names) -> None:
        given = _taken(record, names["id"])
        id = given if isinstance(given, str) else str(given)
        self.ids.append(id)
        self.embeddings.append(self._embedding(id, _taken(record, names["embedding"])))
        self.documents.append(_taken(record, names["document"]))
        self.uris.append(_taken(record, names["uri"]))
        metadata = _taken(record, names["metadata"])
        # Of another program's file, the other keys are metadata as well.
        self.metadatas.append({**(metadata or {}), **record} if record else metadata)

    def finished(self) -> SourceBatch:
        return SourceBatch(
            self.ids, self.embeddings, self.documents, self.uris, self.metadatas, self.losses
        )

    def _embedding(self, id: str, given: Any) -> NDArray[np.float32] | None:
        if given is None:
            return None
        try:
            with np.errstate(over="ignore"):
                embedding = np.array(given, dtype=np.float32)
        except (TypeError, ValueError):
            self.losses.append(Loss("embedding", "it is not a list of numbers", id))
            return None
        return embedding


def _taken(record: dict[str, Any], names: Sequence[str]) -> Any:
    """Remove the first of these keys that the record has, and return its value."""
    return next((record.pop(name) for name in names if name in record), None)


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        # Python's parser also takes what other programs write: NaN, and halves of pairs.
        return json.loads(line.decode("utf-8"))
