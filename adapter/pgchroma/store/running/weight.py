"""Which operations take too long to prepare to do it on an event loop."""

from __future__ import annotations

from typing import Any, Final

from pgchroma.model.filters import Comparison, Filter, Junction, TextMatch
from pgchroma.model.operations import Operation
from pgchroma.model.records import RecordBatch

__all__ = ("is_heavy",)

_MANY: Final = 500
_MANY_CLAUSES: Final = 50
_MANY_BYTES: Final = 1 << 18
_MANY_QUERIES: Final = 4


def is_heavy(operation: Operation[Any], *, has_proposers: bool = False) -> bool:
    """Whether statements take more than some milliseconds to compose and to pack.

    Args:
        operation: The operation.
        has_proposers: Whether queries are first sent to indexes in memory.
    """
    records = getattr(operation, "records", None)
    if isinstance(records, RecordBatch) and _is_large(records):
        return True
    # An explanation has its query's weight.
    asked = getattr(operation, "query", operation)
    ids = getattr(asked, "ids", None)
    embeddings = getattr(asked, "embeddings", None)
    if has_proposers and embeddings is not None and len(embeddings) > _MANY_QUERIES:
        return True
    return (
        (isinstance(ids, list) and len(ids) > _MANY)
        or (embeddings is not None and embeddings.nbytes > _MANY_BYTES)
        or _is_long(getattr(asked, "filter", None))
    )


def _is_large(records: RecordBatch) -> bool:
    if len(records) > _MANY:
        return True
    if records.embeddings is not None and records.embeddings.nbytes > _MANY_BYTES:
        return True
    characters = sum(len(text) for text in records.documents or () if text)
    values = sum(len(metadata) for metadata in records.metadatas or () if metadata)
    return characters > _MANY_BYTES or values > 10 * _MANY or _has_long_value(records)


def _has_long_value(records: RecordBatch) -> bool:
    return any(
        _length(value) > _MANY
        for metadata in records.metadatas or ()
        for value in (metadata or {}).values()
    )


def _length(value: Any) -> int:
    if isinstance(value, str | list):
        return len(value)
    # Of clean metadata, only sparse vectors are dictionaries.
    return len(value["indices"]) if isinstance(value, dict) else 0


def _is_long(filter: Filter | None) -> bool:
    return filter is not None and _clauses(filter) > _MANY_CLAUSES


def _clauses(filter: Filter) -> int:
    match filter:
        case Junction(_, clauses):
            return 1 + sum(map(_clauses, clauses))
        case Comparison(key, _, operand):
            length = len(operand) if isinstance(operand, str | tuple) else 1
            return 1 + (len(key) + length) // 10
        case TextMatch("$regex" | "$not_regex"):
            # Translating a pattern takes longer than its length suggests.
            return _MANY_CLAUSES + 1
        case TextMatch(_, text):
            return 1 + len(text) // 10
