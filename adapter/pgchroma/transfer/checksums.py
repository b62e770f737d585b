"""Checksums of records that do not depend on the order in which the records are read.

The checksum of a part, such as the documents, is the sum of one hash for each record that has the
part. A hash covers the record's id, so that a value which moved to another record is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.model.sparse import round_values

__all__ = ("PARTS", "CheckedPart", "Checksums")

CheckedPart: TypeAlias = Literal["ids", "documents", "uris", "metadatas", "embeddings"]

PARTS: Final[tuple[CheckedPart, ...]] = get_args(CheckedPart)

_BYTES: Final = 16
_LIMIT: Final = 1 << (8 * _BYTES)


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
        embeddings: Iterable[NDArray[np.float32] | None] | None,
        documents: Sequence[str | None] | None,
        uris: Sequence[str | None] | None,
        metadatas: Sequence[Mapping[str, Any] | None] | None,
    ) -> Self:
        """Return the checksums of records; a column that is `None` is empty."""
        checksums = cls(len(ids))
        keys = [id.encode() for id in ids]
        checksums._add("ids", keys, [b""] * len(keys))
        if documents is not None:
            checksums._add(
                "documents", keys, [None if d is None else d.encode() for d in documents]
            )
        if uris is not None:
            checksums._add("uris", keys, [None if uri is None else uri.encode() for uri in uris])
        if metadatas is not None:
            checksums._add("metadatas", keys, map(_metadata_bytes, metadatas))
        if embeddings is not None:
            checksums._add("embeddings", keys, map(_embedding_bytes, embeddings))
        return checksums

    def __iadd__(self, other: Checksums) -> Self:
        """Add the records of another set."""
        self.count += other.count
        for part in PARTS:
            self.present[part] += other.present[part]
            self.sums[part] = (self.sums[part] + other.sums[part]) % _LIMIT
        return self

    def differing(self, other: Checksums) -> tuple[CheckedPart, ...]:
        """Return the parts in which two sets of records differ."""
        return tuple(
            part
            for part in PARTS
            if (self.sums[part], self.present[part]) != (other.sums[part], other.present[part])
        )

    def _add(
        self, part: CheckedPart, keys: Sequence[bytes], values: Iterable[bytes | None]
    ) -> None:
        total = present = 0
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                # The length separates the id from the value.
                hashed = blake2b(b"%d:%b" % (len(key), key), digest_size=_BYTES)
                hashed.update(value)
                total += int.from_bytes(hashed.digest(), "little")
                present += 1
        self.sums[part] = (self.sums[part] + total) % _LIMIT
        self.present[part] += present


def _text_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


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


def _embedding_bytes(embedding: NDArray[np.float32] | None) -> bytes | None:
    return None if embedding is None else np.asarray(embedding, dtype="<f4").tobytes()
