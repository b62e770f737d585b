"""The names of databases and collections in PostgreSQL; see `pgchroma.store.layout.tables`."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

__all__ = ("NAME_BYTES", "base_name", "relation_names", "schema_name", "view_name")

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
        *(
            f"{table}_{id.hex}"
            for table in ("records", "vectors", "spare", "sparse", "counts", "log")
        ),
    )


def base_name(relation: str) -> str:
    """Return the name of a table without its generation, its number and what follows it."""
    pattern = (
        r"^((?:vectors|spare)_[0-9a-f]{32})_[0-9]+$|^(sparse_[0-9a-f]{32})_[0-9]+(?:_[a-z]+)?$"
    )
    return re.sub(pattern, r"\1\2", relation)


def _readable(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "_".join(words)[:22] or "x"
