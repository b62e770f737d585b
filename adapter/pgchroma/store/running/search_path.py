"""pgvector in a schema that is not on the search path, such as one for extensions alone.

Statements name the extension's types, operators and operator classes without a schema. If the
search path of the role or database does not contain the extension's schema, each transaction
appends it. Nothing is set for the session, which a pooler may hand to other clients.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from psycopg import BaseConnection, Connection

from pgchroma.store.running.steps import Statement, Steps

__all__ = ("ADD_SCHEMA", "add_for_session", "add_schema", "lacks_schema", "note_schema")

_ADD: Final = """
select pg_catalog.set_config(
    'search_path',
    concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)),
    {is_local}
)
from pg_catalog.pg_extension as e
join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
where e.extname = 'vector' and to_regtype('vector') is null
"""

ADD_SCHEMA: Final = Statement(_ADD.format(is_local="true").encode())
"""Adds the extension's schema to the search path of a transaction; it may be added twice."""

_lacking: WeakSet[BaseConnection[Any]] = WeakSet()


def note_schema(connection: BaseConnection[Any], *, is_on_path: bool) -> None:
    """Store whether the search path of a connection contains pgvector."""
    if not is_on_path:
        _lacking.add(connection)


def lacks_schema(connection: BaseConnection[Any]) -> bool:
    """Whether transactions on a connection have to add the schema."""
    return connection in _lacking


def add_schema() -> Steps[None]:
    """Add the extension's schema to the search path until the transaction ends."""
    yield ADD_SCHEMA


def add_for_session(connection: Connection[Any]) -> None:
    """Add the extension's schema to the search path of a session that only pgchroma uses."""
    connection.execute(_ADD.format(is_local="false").encode())
