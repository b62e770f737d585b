"""Secondary indexes: indexes of metadata and documents, for the filters that use them.

There are five kinds. ``number`` and ``value`` index one metadata key: its numbers in their order,
and its texts and booleans. Of a long text they have only the beginning, because PostgreSQL refuses
a row whose text is too long for an index. ``elements`` has every key and value, and serves filters
for elements of lists. ``trigrams`` indexes documents, and ``lexemes`` their words, if the
collection has a full-text index.

A filter contains the same expression as the index of its key, with the key as a literal. Otherwise
PostgreSQL would not recognize that they are equal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString, TypeAlias

from psycopg import sql

from pgchroma.model.filters import Comparison, TextMatch
from pgchroma.model.regex import required_text
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import ComposedSQL, Statement, render, text_of

__all__ = (
    "DEMAND_THRESHOLD",
    "KINDS",
    "MAX_KEY_BYTES",
    "MIN_LITERAL_CHARACTERS",
    "IndexKind",
    "SecondaryIndex",
    "candidate_index",
    "create_secondary",
    "indexed_value",
    "is_truncated",
    "key_literal",
    "kind_for",
    "number_of",
    "secondary_name",
    "secondary_prefix",
    "value_of",
)

IndexKind: TypeAlias = Literal["number", "value", "elements", "trigrams", "lexemes"]
KINDS: Final[tuple[IndexKind, ...]] = ("number", "value", "elements", "trigrams", "lexemes")

DEMAND_THRESHOLD: Final = 10
"""The number of filters that have to miss an index before it is built."""

MIN_LITERAL_CHARACTERS: Final = 3
"""Shorter texts have no trigram, and occur in too many documents for an index to help."""

MAX_VALUE_CHARACTERS: Final = 200
"""Characters of a value in an index, including the first, which marks texts and booleans."""

MAX_KEY_BYTES: Final = 500
"""Bytes of a key. Before PostgreSQL 18, an index's expression has to fit into a catalog row."""


@dataclass(frozen=True, slots=True)
class SecondaryIndex:
    """A secondary index; `key` is empty unless it indexes one metadata key."""

    kind: IndexKind
    key: str = ""


def candidate_index(leaf: Comparison | TextMatch) -> SecondaryIndex | None:
    """Return the index that would serve a part of a filter if it existed; None if none would."""
    match leaf:
        case TextMatch("$contains", text) if len(text) >= MIN_LITERAL_CHARACTERS:
            return SecondaryIndex("trigrams")
        case TextMatch("$regex", pattern) if len(required_text(pattern)) >= MIN_LITERAL_CHARACTERS:
            return SecondaryIndex("trigrams")
        case TextMatch("$matches"):
            return SecondaryIndex("lexemes")
        case Comparison(key, operator, operand) if not key.startswith(("#", "chroma:")):
            return _candidate_of_key(key, operator, operand)
        case _:
            return None


def create_secondary(
    tables: CollectionTables, index: SecondaryIndex, trigrams_schema: str | None
) -> Statement:
    """Build an index while others read and write.

    Args:
        tables: The collection's tables.
        index: The index to build.
        trigrams_schema: The schema of the extension pg_trgm; needed only for ``trigrams``.
    """
    text = render(
        "create index concurrently {name} on {records} " + _METHODS[index.kind],
        name=sql.Identifier(secondary_name(tables, index)),
        records=tables.records,
        number=number_of("metadata", index.key),
        value=value_of("metadata", index.key),
        trigrams=sql.Identifier(trigrams_schema or "public", "gin_trgm_ops"),
    )
    return Statement(text)


def kind_for(operand: Any) -> IndexKind:
    """Return the kind of index that finds an operand, or the first of several operands."""
    first = operand[0] if isinstance(operand, tuple) else operand
    return "value" if isinstance(first, bool | str) else "number"


def number_of(metadata: LiteralString, key: str) -> sql.Composable:
    """Compose a key's value as a number; null if it is not a number."""
    template: LiteralString = (
        "(case when jsonb_typeof({0} -> {1}) = 'number' then ({0} -> {1})::numeric end)"
    )
    return sql.SQL(template).format(sql.SQL(metadata), key_literal(key))


def value_of(metadata: LiteralString, key: str) -> sql.Composable:
    """Compose a key's text or boolean as a text, see `indexed_value`; null if it is neither."""
    template: LiteralString = (
        "(case jsonb_typeof({0} -> {1}) when 'string' then left('s' || ({0} ->> {1}), {2}) "
        "when 'boolean' then 'b' || ({0} ->> {1}) end collate \"C\")"
    )
    return sql.SQL(template).format(
        sql.SQL(metadata), key_literal(key), sql.Literal(MAX_VALUE_CHARACTERS)
    )


def indexed_value(operand: str | bool) -> str:
    """Return the form of a value in an index."""
    if isinstance(operand, bool):
        return "btrue" if operand else "bfalse"
    return f"s{operand}"[:MAX_VALUE_CHARACTERS]


def is_truncated(operand: str | bool) -> bool:
    """Whether an index has only the beginning of a value."""
    return isinstance(operand, str) and len(operand) >= MAX_VALUE_CHARACTERS


def key_literal(key: str) -> sql.Composable:
    """Compose a key as a literal for the text of a statement that has placeholders."""
    return ComposedSQL(text_of(sql.Literal(key)).replace(b"%", b"%%"))


def secondary_name(tables: CollectionTables, index: SecondaryIndex) -> str:
    """Return the name of a secondary index."""
    digest = hashlib.sha256(index.key.encode()).hexdigest()[:10] if index.key else ""
    return f"{secondary_prefix(tables)}{index.kind[:4]}{digest}"


def secondary_prefix(tables: CollectionTables) -> str:
    """Return the prefix of the names of a collection's secondary indexes."""
    return f"records_{tables.id.hex}_by_"


def _candidate_of_key(key: str, operator: str, operand: Any) -> SecondaryIndex | None:
    match operator:
        case "$contains":
            return SecondaryIndex("elements")
        case "$eq" | "$in" | "$gt" | "$gte" | "$lt" | "$lte" if len(key.encode()) <= MAX_KEY_BYTES:
            return SecondaryIndex(kind_for(operand), key)
        case _:
            # A negation matches most records, so no index finds them faster.
            return None


_METHODS: Final[dict[IndexKind, LiteralString]] = {
    "number": "using btree ({number})",
    "value": "using btree ({value})",
    "elements": "using gin (metadata jsonb_path_ops)",
    "trigrams": "using gin (document {trigrams})",
    # Otherwise searches would also read a list of what was written since the last vacuum.
    "lexemes": "using gin (lexemes) with (fastupdate = off)",
}
