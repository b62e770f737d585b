"""The names of databases and collections in PostgreSQL; see `pgchroma.store.layout.tables`."""

from __future__ import annotations

import hashlib
import re
from typing import Final, LiteralString
from uuid import UUID

from psycopg import sql

__all__ = (
    "NAME_BYTES",
    "RELATIONS",
    "TABLES",
    "base_name",
    "key_of",
    "relation_names",
    "schema_name",
    "view_name",
)

TABLES: Final = ("records", "vectors", "spare", "counts", "sparse")
"""The first words of the names of a collection's tables.

The second is the collection's key, its id in hexadecimal digits. Some names have a number after it.
"""

RELATIONS: Final = (*TABLES, "log")
"""The first words of the names of a collection's tables and of its sequence."""

NAME_BYTES = 63
"""PostgreSQL truncates longer identifiers without an error."""


def schema_name(tenant: str, database: str) -> str:
    """Return the name of the schema of a database: ``tenant__database``.

    Names that PostgreSQL cannot use this way, or that would be ambiguous or too long, are shortened
    and get a hash of both names after a second ``__``. No two databases share a schema.
    """
    plain = re.compile(r"(?!pg_)[a-z0-9]+(?:_[a-z0-9]+)*")
    name = f"{tenant}__{database}"
    if plain.fullmatch(tenant) and plain.fullmatch(database) and len(name) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(f"{tenant}\x00{database}".encode()).hexdigest()[:10]
    readable = "__".join(_readable(part) for part in (tenant, database))
    reserved = "x" if readable.startswith("pg_") else ""
    return f"{reserved}{readable}__{digest}"


def view_name(collection: str) -> str:
    """Return the name of a collection's view: the collection's name if PostgreSQL can use it.

    A longer name, or one in the form of a table's name, ends in ``~`` and a hash instead. No
    collection's name contains ``~``, so no two collections share a view.
    """
    is_reserved = re.match(r"(records|vectors|counts|log)_|(spare|sparse)_[0-9a-f]{32}", collection)
    if len(collection) <= NAME_BYTES and not is_reserved:
        return collection
    digest = hashlib.sha256(collection.encode()).hexdigest()[:10]
    return f"{collection[: NAME_BYTES - len(digest) - 1]}~{digest}"


def relation_names(id: UUID, collection: str) -> tuple[str, ...]:
    """Return the names of everything that a collection may have in its schema."""
    return (
        view_name(collection),
        *(f"{relation}_{id.hex}" for relation in RELATIONS),
    )


def key_of(name: LiteralString, *kinds: str) -> sql.Composed:
    """Compose the key in the name of one of a collection's tables; null for all other names.

    Args:
        name: The column with the name.
        kinds: The first words of the names; if there are none, those of all tables.
    """
    pattern = f"^(?:{'|'.join(kinds or TABLES)})_([0-9a-f]{{32}})(?:_|$)"
    return sql.SQL("substring({} from {})").format(sql.SQL(name), sql.Literal(pattern))


def base_name(relation: str) -> str:
    """Return the name of a table without its generation, its number and what follows it."""
    pattern = (
        r"^((?:vectors|spare)_[0-9a-f]{32})_[0-9]+$|^(sparse_[0-9a-f]{32})_[0-9]+(?:_[a-z]+)?$"
    )
    return re.sub(pattern, r"\1\2", relation)


def _readable(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "_".join(words)[:22] or "x"
