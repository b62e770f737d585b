"""The collections of a directory: their names and settings, and where their records are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.transfer.readers.chroma_directory.configuration import Settings, read_settings
from pgchroma.transfer.readers.chroma_directory.database import Database, Values
from pgchroma.transfer.readers.chroma_directory.label_maps import read_label_map
from pgchroma.transfer.readers.chroma_directory.queue import EMPTY_QUEUE, Queue
from pgchroma.transfer.readers.chroma_directory.sequences import decode_sequence
from pgchroma.transfer.readers.chroma_directory.shapes import UUID
from pgchroma.transfer.readers.chroma_directory.tables import list_records, list_segments
from pgchroma.transfer.source import Loss

__all__ = ("Catalog", "StoredCollection", "read_catalog")

Numbers = NDArray[np.int64]

_VALUES: Final = ("str_value", "int_value", "float_value", "bool_value")
_RECOVERED: Final = "recovered-"
_NO_ROWS: Final[Numbers] = np.zeros(0, np.int64)


@dataclass(slots=True)
class StoredCollection:
    """A collection, and where its records are.

    Attributes:
        metadata_segment: The segment of its records in the tables.
        vector_segment: The segment of its index.
        index_directory: The directory of its index, if it exists.
        dimension: The length of its vectors, if it is known.
        rowids: Its records in the tables, ascending.
        queue: Its writes in the queue.
        tables_read_up_to: The last row of the queue that the tables have read, if it is known.
        index_read_up_to: The same of the index.
        losses: What could not be found out about it.
    """

    id: str
    name: str
    tenant: str
    database: str
    settings: Settings
    dimension: int | None
    metadata_segment: str | None
    vector_segment: str | None
    index_directory: Path | None
    rowids: Numbers
    queue: Queue
    tables_read_up_to: int | None
    index_read_up_to: int | None
    losses: list[Loss] = field(default_factory=list)


@dataclass(slots=True)
class Catalog:
    """The collections of a directory.

    Attributes:
        segments: The rowids of each segment.
        is_from_1_0: Whether Chroma 1.0 or newer created the directory.
        warnings: What is left out, as sentences.
    """

    collections: list[StoredCollection]
    segments: Mapping[str, Numbers]
    is_from_1_0: bool
    warnings: list[str]

    def with_queues(self, queues: Mapping[str, Queue]) -> Catalog:
        """Return the same collections with other queues of writes."""
        collections = [
            replace(stored, queue=queues.get(stored.id, EMPTY_QUEUE)) for stored in self.collections
        ]
        return replace(self, collections=collections)


def read_catalog(database: Database, directory: Path, queues: Mapping[str, Queue]) -> Catalog:
    """Return the collections of a directory."""
    return _Reading(database, directory, queues).read()


class _Reading:
    def __init__(self, database: Database, directory: Path, queues: Mapping[str, Queue]) -> None:
        self._database = database
        self._directory = directory
        self._queues = queues
        self._records = list_segments(database)
        self._owned: dict[str, dict[str, str]] = {}
        self._losses: dict[str, list[Loss]] = {}
        self._warnings: list[str] = []
        self._collections: dict[str, Values] = {}
        self._databases = {row["id"]: row for row in database.rows("databases")}
        self._read_up_to = {row["segment_id"]: row["seq_id"] for row in database.rows("max_seq_id")}
        self._metadata = _read_metadata(database, "collection_metadata", "collection_id")
        self._segment_metadata = _read_metadata(database, "segment_metadata", "segment_id")

    def read(self) -> Catalog:
        self._collections = {row["id"]: row for row in self._database.rows("collections")}
        for row in self._database.rows("segments"):
            if row["collection"] is None:
                # An early release may have left a segment of no collection behind.
                continue
            self._owned.setdefault(row["collection"], {})[row["scope"]] = row["id"]
        for id in self._owned:
            if id not in self._collections:
                self._recover(id, "its row in the table of collections is lost")
        if self._database.is_damaged:
            for id in self._queues:
                if id not in self._collections and UUID.fullmatch(id):
                    self._recover(id, "only the queue of writes knows it")
        self._adopt()
        self._take_ownerless()
        collections = [self._stored(id, row) for id, row in self._collections.items()]
        first = next(iter(self._database.rows("migrations")), None)
        is_from_1_0 = first is not None and first["dir"] == "sysdb"
        return Catalog(collections, self._records, is_from_1_0, self._warnings)

    def _recover(self, id: str, reason: str) -> None:
        name = _RECOVERED + id[:8]
        self._collections[id] = {"id": id, "name": name}
        reason = f"{reason}: its name, database, metadata and settings are not known"
        self._lose(id, Loss("collection", reason))

    def _lose(self, collection: str, loss: Loss) -> None:
        self._losses.setdefault(collection, []).append(loss)

    def _stored(self, id: str, row: Values) -> StoredCollection:
        segments = self._owned.get(id, {})
        metadata_segment, vector_segment = segments.get("METADATA"), segments.get("VECTOR")
        settings = read_settings(
            row.get("config_json_str"),
            row.get("schema_str"),
            self._metadata.get(id, {}),
            self._segment_metadata.get(vector_segment or "", {}),
        )
        if settings.space is None and str(row["name"]) != _RECOVERED + id[:8]:
            settings.space = "l2"
        tenant, database = self._place(id, row)
        dimension = row.get("dimension")
        return StoredCollection(
            id=id,
            name=str(row["name"]),
            tenant=tenant,
            database=database,
            settings=settings,
            dimension=dimension if isinstance(dimension, int) and dimension > 0 else None,
            metadata_segment=metadata_segment,
            vector_segment=vector_segment,
            index_directory=self._index_directory(id, vector_segment),
            rowids=self._records.get(metadata_segment or "", _NO_ROWS),
            queue=self._queues.get(id, EMPTY_QUEUE),
            tables_read_up_to=self._mark(row["name"], metadata_segment),
            index_read_up_to=self._mark(row["name"], vector_segment),
            losses=[*self._losses.get(id, []), *settings.losses],
        )

    def _place(self, id: str, row: Values) -> tuple[str, str]:
        """Return the tenant and the database of a collection."""
        database_id = row.get("database_id")
        database = self._databases.get(database_id)
        if database is not None:
            return str(database["tenant_id"]), str(database["name"])
        if database_id is not None and database_id != _DEFAULT_DATABASE_ID:
            reason = f"its database is lost; it is taken for one of {DEFAULT_DATABASE}"
            self._lose(id, Loss("collection", reason, is_suspect=True))
        return DEFAULT_TENANT, DEFAULT_DATABASE

    def _mark(self, name: object, segment: str | None) -> int | None:
        value = self._read_up_to.get(segment)
        number = decode_sequence(value)
        if number is None and value is not None:
            self._warnings.append(
                f"collection {name}: its place in the queue of writes is damaged and not believed"
            )
        return number

    def _index_directory(self, id: str, segment: str | None) -> Path | None:
        if segment is None or not UUID.fullmatch(segment):
            return None
        path = self._directory / segment
        if path.is_dir():
            return path
        # Some repair tools put directories aside and append to their names.
        aside = [other for other in self._directory.glob(f"{segment}?*") if other.is_dir()]
        if not aside:
            return None
        path = max(aside)
        self._warnings.append(
            f"collection {self._collections[id]['name']}: the directory of its index was renamed; "
            f"{path.name} is read"
        )
        return path

    def _adopt(self) -> None:
        """Find the segments of collections that have none: those with the most ids in common.

        An id that is in both a queue and a segment belongs to one collection nearly always.
        """
        lacking = [id for id in self._collections if not self._owned.get(id)]
        if not lacking:
            return
        candidates = dict(self._ownerless_ids())
        for id in lacking:
            known = np.unique(self._queues.get(id, EMPTY_QUEUE).hashes)
            for scope in ("METADATA", "VECTOR"):
                shared = {
                    key: len(np.intersect1d(known, hashes))
                    for key, hashes in candidates.items()
                    if key[0] == scope
                }
                best = max(shared, key=lambda key: shared[key], default=None)
                if best is None or not shared[best]:
                    continue
                known = np.union1d(known, candidates.pop(best))
                self._owned.setdefault(id, {})[scope] = best[1]
                reason = "what belongs to it is not recorded any more, and was found by its ids"
                self._lose(id, Loss("collection", reason, is_suspect=True))

    def _ownerless_ids(self) -> Iterator[tuple[tuple[str, str], Numbers]]:
        owned = self._owned_segments()
        for segment in self._records:
            if segment not in owned:
                hashes = list_records(self._database, segment).hashes
                yield ("METADATA", segment), np.unique(hashes)
        for path in self._index_directories():
            if path.name not in owned:
                try:
                    hashes = read_label_map(path / "index_metadata.pickle").hashes
                except OSError:
                    continue
                yield ("VECTOR", path.name), hashes

    def _take_ownerless(self) -> None:
        """Take what no collection owns for one if tables are damaged, and for deleted else."""
        owned = self._owned_segments()
        segments = [("METADATA", segment) for segment in self._records if segment not in owned]
        segments += [
            ("VECTOR", path.name) for path in self._index_directories() if path.name not in owned
        ]
        for scope, segment in segments:
            if self._database.is_damaged and UUID.fullmatch(segment):
                self._owned[segment] = {scope: segment}
                self._recover(segment, "nothing says to which collection these records belong")
        if segments and not self._database.is_damaged:
            count = len({segment for _, segment in segments})
            self._warnings.append(
                "what is left of deleted collections is not imported: "
                f"{count} {'segment' if count == 1 else 'segments'}"
            )

    def _owned_segments(self) -> set[str]:
        return {segment for segments in self._owned.values() for segment in segments.values()}

    def _index_directories(self) -> list[Path]:
        return sorted(
            path
            for path in self._directory.iterdir()
            if UUID.fullmatch(path.name) and (path / "data_level0.bin").exists()
        )


_DEFAULT_DATABASE_ID: Final = "00000000-0000-0000-0000-000000000000"


def _read_metadata(database: Database, table: str, owner: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in database.rows(table):
        values = [row[name] for name in _VALUES]
        given = next((place for place, value in enumerate(values) if value is not None), None)
        if given is not None:
            value = bool(values[given]) if _VALUES[given] == "bool_value" else values[given]
            found.setdefault(row[owner], {})[str(row["key"])] = value
    return found
