"""Read files of records, each of which has one collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from pgchroma.errors import InvalidArgumentError
from pgchroma.transfer.readers.columns import Role
from pgchroma.transfer.readers.jsonl import JsonLinesFile
from pgchroma.transfer.readers.parquet import ParquetFile
from pgchroma.transfer.source import SourceBatch, SourceCollection

__all__ = ("SUFFIXES", "FilesSource", "files_in")

_JSON_LINES: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

SUFFIXES: Final = (".parquet", *_JSON_LINES)


class _File(Protocol):
    """A file of records."""

    collection: SourceCollection

    def batches(self, size: int, skip: int) -> Iterator[SourceBatch]: ...


class FilesSource:
    """The collections of files."""

    def __init__(self, place: Path, files: Sequence[Path], chosen: Mapping[Role, str]) -> None:
        """Make a source.

        Args:
            place: The file or directory that the user named.
            files: The files to read.
            chosen: The columns that the user has chosen for parts of a record.
        """
        self._place = place
        self._paths = files
        self._chosen = chosen
        self._files: dict[str, _File] = {}

    def __enter__(self) -> Self:
        """Read what the files say of their collections."""
        for path in self._paths:
            file = _open(path, self._chosen)
            self._files[file.collection.key] = file
        return self

    def __exit__(self, *exception: object) -> None:
        """Forget the files, which are closed between two reads."""
        self._files.clear()

    def describe(self) -> str:
        """Return the path."""
        return str(self._place)

    def warnings(self) -> Sequence[str]:
        """Return nothing: files have no warnings."""
        return ()

    def collections(self) -> Sequence[SourceCollection]:
        """Return the collections by the names of their files."""
        return [file.collection for file in self._files.values()]

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        """Yield the records of a file."""
        return self._files[collection.key].batches(size, skip)


def files_in(directory: Path) -> list[Path]:
    """Return the files of records in a directory, by name."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
    )


def _open(path: Path, chosen: Mapping[Role, str]) -> _File:
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), None)
    if suffix is None:
        raise InvalidArgumentError(
            f"{path} is not a file of records: its name must end with one of {', '.join(SUFFIXES)}"
        )
    name = path.name[: -len(suffix)]
    return (ParquetFile if suffix == ".parquet" else JsonLinesFile)(path, chosen, name)
