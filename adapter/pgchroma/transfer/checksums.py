"""Checksums of records that do not depend on the order in which the records are read.

The checksum of a part, such as the documents, is the sum of one hash for each record that has the
part. The hash covers the record's id, so a value that moved to another record is noticed.

Hashes are those of Python and of a random linear function. They are fast, have 64 bits, and differ
from process to process, so they are compared within one and never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.model.sparse import round_values

__all__ = ("PARTS", "CheckedPart", "Checksums", "hashes_of")

CheckedPart: TypeAlias = Literal["ids", "documents", "uris", "metadatas", "embeddings"]

PARTS: Final[tuple[CheckedPart, ...]] = get_args(CheckedPart)

_Hashes: TypeAlias = NDArray[np.uint64]

_RANDOM: Final = np.random.default_rng()


@dataclass(slots=True)
class Checksums:
    """The checksums of a set of records, by part.

    Attributes:
        count: How many records there are.
        present: How many records have each part.
        sums: The checksum of each part.
    """

    count: int = 0
    present: dict[CheckedPart, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    sums: dict[CheckedPart, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        embeddings: Sequence[NDArray[np.float32] | None] | NDArray[np.float32] | None,
        documents: Sequence[str | None] | None,
        uris: Sequence[str | None] | None,
        metadatas: Sequence[Mapping[str, Any] | None] | None,
    ) -> Self:
        """Return the checksums of records; a column that is `None` is empty."""
        checksums = cls(len(ids))
        keys = hashes_of(ids)
        checksums._add("ids", keys, np.zeros_like(keys))
        checksums._add_values("documents", keys, documents)
        checksums._add_values("uris", keys, uris)
        if metadatas is not None:
            checksums._add_values("metadatas", keys, list(map(_metadata_bytes, metadatas)))
        if embeddings is not None:
            checksums._add_embeddings(keys, embeddings)
        return checksums

    def __iadd__(self, other: Checksums) -> Self:
        """Add the records of another set."""
        self.count += other.count
        for part in PARTS:
            self.present[part] += other.present[part]
            self.sums[part] = (self.sums[part] + other.sums[part]) % (1 << 64)
        return self

    def differing(self, other: Checksums) -> tuple[CheckedPart, ...]:
        """Return the parts in which two sets of records differ."""
        return tuple(
            part
            for part in PARTS
            if (self.sums[part], self.present[part]) != (other.sums[part], other.present[part])
        )

    def _add_values(
        self, part: CheckedPart, keys: _Hashes, values: Sequence[str | bytes | None] | None
    ) -> None:
        if values is None:
            return
        is_there = np.array([value is not None for value in values], dtype=bool)
        if is_there.any():
            self._add(part, keys[is_there], hashes_of(values)[is_there])

    def _add_embeddings(
        self,
        keys: _Hashes,
        embeddings: Sequence[NDArray[np.float32] | None] | NDArray[np.float32],
    ) -> None:
        if isinstance(embeddings, np.ndarray):
            self._add("embeddings", keys, _hashes_of_rows(embeddings))
            return
        by_length: dict[int, list[int]] = {}
        for n, embedding in enumerate(embeddings):
            if embedding is not None:
                by_length.setdefault(len(embedding), []).append(n)
        for places in by_length.values():
            rows = np.array([embeddings[n] for n in places], dtype=np.float32)
            self._add("embeddings", keys[places], _hashes_of_rows(rows))

    def _add(self, part: CheckedPart, keys: _Hashes, values: _Hashes) -> None:
        total = int(_mixed(keys + _mixed(values)).sum(dtype=np.uint64))
        self.sums[part] = (self.sums[part] + total) % (1 << 64)
        self.present[part] += len(keys)


def hashes_of(values: Sequence[str | bytes | None]) -> _Hashes:
    """Return a hash for each text."""
    return np.fromiter(map(hash, values), dtype=np.int64, count=len(values)).view(np.uint64)


def _hashes_of_rows(matrix: NDArray[np.float32]) -> _Hashes:
    """Return a hash for each row: a linear function of its bits, with random weights."""
    bits = np.ascontiguousarray(matrix, dtype=np.float32).view(np.uint32)
    return bits.astype(np.uint64) @ _weights(matrix.shape[1]) + np.uint64(matrix.shape[1])


@lru_cache(maxsize=16)
def _weights(count: int) -> _Hashes:
    return _RANDOM.integers(0, 1 << 64, count, dtype=np.uint64) | np.uint64(1)


def _mixed(hashes: _Hashes) -> _Hashes:
    """Return hashes of which each bit depends on all bits: the finalizer of SplitMix64."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _metadata_bytes(metadata: Mapping[str, Any] | None) -> bytes | None:
    # No metadata and empty metadata are the same: PostgreSQL and Chroma store neither.
    if not metadata:
        return None
    if dict in map(type, metadata.values()):
        metadata = {
            key: round_values(value) if type(value) is dict else value
            for key, value in metadata.items()
        }
    return orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
