"""The table of records: which rowids, ids and last changes the segments have."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory.database import Database
from pgchroma.transfer.readers.chroma_directory.label_maps import hash_ids
from pgchroma.transfer.readers.chroma_directory.sequences import decode_sequence

__all__ = ("UNKNOWN", "Listing", "list_records", "list_segments")

Numbers = NDArray[np.int64]

UNKNOWN: Final = -1
"""Stands for the number of a last change that is missing or not believable."""

_FETCHED: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The records of a segment in the order of their rowids.

    Attributes:
        hashes: Their ids as `hash_ids` gives them.
        last_changes: The rows of the queue that changed them last, or `UNKNOWN`.
    """

    rowids: Numbers
    hashes: Numbers
    last_changes: Numbers


def list_segments(database: Database) -> Mapping[str, Numbers]:
    """Return the rowids of the records of each segment, ascending."""
    found: dict[str, array[int]] = {}
    # By rowid in one pass: a pass for each segment would read the table over and over.
    cursor = database.select("embeddings", ("id", "segment_id"), "not indexed order by id")
    while rows := cursor.fetchmany(_FETCHED):
        for segment, group in groupby(rows, key=lambda row: row[1]):
            found.setdefault(str(segment), array("q")).extend([rowid for rowid, _ in group])
    return {segment: np.frombuffer(rowids, np.int64) for segment, rowids in found.items()}


def list_records(database: Database, segment: str | None) -> Listing:
    """Return the records of a segment."""
    rowids, hashes, changes = array("q"), array("q"), array("q")
    cursor = database.select(
        "embeddings",
        ("id", "embedding_id", "seq_id"),
        "not indexed where segment_id = ? order by id",
        (segment,),
    )
    while rows := cursor.fetchmany(_FETCHED):
        numbers, ids, sequences = zip(*rows, strict=True)
        rowids.extend(numbers)
        hashes.frombytes(hash_ids(map(str, ids)).tobytes())
        changes.extend(last_change(sequence) for sequence in sequences)
    return Listing(
        np.frombuffer(rowids, np.int64),
        np.frombuffer(hashes, np.int64),
        np.frombuffer(changes, np.int64),
    )


def last_change(sequence: object) -> int:
    """Return the number in a record's `seq_id`, or `UNKNOWN`."""
    number = decode_sequence(sequence)
    return UNKNOWN if number is None else number
