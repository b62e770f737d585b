"""Storing the embeddings of a large batch in several statements of its transaction.

libpq moves what it has not sent yet to the beginning of its buffer whenever the socket takes no
more, some 200 KB later. A statement of 64 MB takes ten times as long per byte as one of 4 MB. So
the first statements of a large write return the positions of its embeddings, and the embeddings
follow in parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, LiteralString

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.records import RecordBatch
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.vectors import pack_vectors
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("is_large", "store_parts")

MAX_BYTES: Final = 8 << 20
"""The size of the embeddings above which they are sent in parts, which takes more round trips."""

PART_BYTES: Final = 2 << 20


def is_large(records: RecordBatch) -> bool:
    """Whether the embeddings of a batch are stored in parts."""
    return records.embeddings is not None and records.embeddings.nbytes > MAX_BYTES


def store_parts(
    embeddings: NDArray[np.float32],
    positions: Sequence[int | None],
    records: Sequence[int | None],
    tables: CollectionTables,
    context: StoreContext,
) -> Steps[None]:
    """Store embeddings, within the transaction that locked their records.

    Args:
        embeddings: The embeddings of the batch.
        positions: The position of each; `None` if it is not stored, because its record exists
            already or is missing.
        records: The `seq` of the record of each.
        tables: The tables of the collection.
        context: The context of the handler.
    """
    text = _render_part(tables)
    size = max(1, PART_BYTES // (embeddings.shape[1] * embeddings.itemsize))
    every_position = np.array([position or 0 for position in positions], np.int64)
    every_record = np.array([record or 0 for record in records], np.int64)
    stored = np.flatnonzero(every_position)
    # One part at least: it fails if the collection has another table of embeddings by now.
    for first in range(0, max(1, len(stored)), size):
        rows = stored[first : first + size]
        yield Statement(
            text,
            {
                "positions": pack_numbers(every_position[rows], "bigint"),
                "records": pack_numbers(every_record[rows], "bigint"),
                "embeddings": pack_vectors(embeddings[rows], context.vector_oid),
            },
        )


@lru_cache(maxsize=1024)
def _render_part(tables: CollectionTables) -> bytes:
    return render(_PART, vectors=tables.vectors)


_PART: LiteralString = """
insert into {vectors} (pos, seq, embedding)
select
    unnest(%(positions)b::bigint[]), unnest(%(records)b::bigint[]),
    unnest(%(embeddings)b::vector[])
"""
