"""Chroma's import path of `create_batches`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ("create_batches",)

_Column = Sequence[Any] | None


class _Limited(Protocol):
    def get_max_batch_size(self) -> int: ...


def create_batches(
    api: _Limited,
    ids: list[str],
    embeddings: Any = None,
    metadatas: Any = None,
    documents: Any = None,
) -> list[tuple[list[str], Any, Any, Any]]:
    """Split records into batches that one call can write.

    Args:
        api: The client, which has the maximum number of records.
        ids: The ids.
        embeddings: One for each id, or `None`.
        metadatas: One for each id, or `None`.
        documents: One for each id, or `None`.

    Returns:
        The ids, embeddings, metadatas and documents of each batch. A column that is `None` stays
        `None`. Without ids there is one empty batch.
    """
    size = api.get_max_batch_size()
    parts = [slice(start, start + size) for start in range(0, max(len(ids), 1), size)]
    return [
        (ids[part], _sliced(embeddings, part), _sliced(metadatas, part), _sliced(documents, part))
        for part in parts
    ]


def _sliced(column: _Column, part: slice) -> _Column:
    return None if column is None else column[part]
