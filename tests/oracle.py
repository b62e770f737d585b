"""Reference semantics: the matches of filters and the results of writes, in plain Python."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pgchroma
from pgchroma.model.filters import Comparison, Filter, Junction, TextMatch

NEGATIVE = {
    "$ne": "$eq",
    "$nin": "$in",
    "$not_contains": "$contains",
    "$not_regex": "$regex",
}


@dataclass
class Record:
    """One record as it should be stored."""

    id: str
    embedding: list[float] | None = None
    document: str | None = None
    uri: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def replace_records(collection: pgchroma.Collection, records: list[Record]) -> None:
    """Store these records, and no others."""
    old = collection.get(include=[])["ids"]
    if old:
        collection.delete(ids=old)
    collection.add(
        ids=[record.id for record in records],
        embeddings=[record.embedding or [] for record in records],
        documents=[record.document for record in records],
        metadatas=[record.metadata or None for record in records],
    )


def matches(record: Record, filter: Filter) -> bool:
    """Whether a record matches a filter."""
    match filter:
        case Junction("$and", clauses):
            return all(matches(record, clause) for clause in clauses)
        case Junction(_, clauses):
            return any(matches(record, clause) for clause in clauses)
        case TextMatch(operator, text) if operator in NEGATIVE:
            return not _text(record.document, NEGATIVE[operator], text)
        case TextMatch(operator, text):
            return _text(record.document, operator, text)
        case Comparison(key, operator, operand) if operator in NEGATIVE:
            return not _compare(_value(record, key), NEGATIVE[operator], operand)
        case Comparison(key, operator, operand):
            return _compare(_value(record, key), operator, operand)


@dataclass
class Store:
    """A collection as it should behave."""

    records: dict[str, Record] = field(default_factory=dict)

    def add(self, new: list[Record]) -> None:
        for record in new:
            if record.id not in self.records:
                self.records[record.id] = record

    def update(self, changes: list[Record]) -> None:
        for change in changes:
            if change.id in self.records:
                self._merge(self.records[change.id], change)

    def upsert(self, changes: list[Record]) -> None:
        for change in changes:
            old = self.records.setdefault(change.id, Record(change.id))
            self._merge(old, change)

    def delete(self, ids: list[str]) -> int:
        return sum(self.records.pop(id, None) is not None for id in dict.fromkeys(ids))

    @staticmethod
    def _merge(old: Record, change: Record) -> None:
        old.embedding = change.embedding if change.embedding is not None else old.embedding
        old.document = change.document if change.document is not None else old.document
        old.uri = change.uri if change.uri is not None else old.uri
        for key, value in change.metadata.items():
            if value is None:
                old.metadata.pop(key, None)
            else:
                old.metadata[key] = value


def _value(record: Record, key: str) -> Any:
    columns = {"#id": record.id, "chroma:document": record.document, "chroma:uri": record.uri}
    return columns[key] if key in columns else record.metadata.get(key)


def _text(document: str | None, operator: str, text: str) -> bool:
    if document is None:
        return False
    return text in document if operator == "$contains" else bool(re.search(text, document))


def _compare(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$in":
        return any(_equal(value, candidate) for candidate in operand)
    if operator == "$contains":
        return isinstance(value, list) and any(
            type(element) is type(operand) and element == operand for element in value
        )
    if operator == "$eq":
        return _equal(value, operand)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    compare = {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand}
    return bool(compare.get(operator, value <= operand))


def _equal(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    return isinstance(value, int | float | str) and value == operand
