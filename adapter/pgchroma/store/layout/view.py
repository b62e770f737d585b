"""Typed columns of a collection's view: one for each key with one type in its schema."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from pgchroma.model.filterable import FilterableKeys, ValueKind
from pgchroma.store.running.steps import ComposedSQL, text_of

__all__ = ("OWN_COLUMNS", "typed_columns")

OWN_COLUMNS: Final = frozenset(
    {"id", "document", "uri", "metadata", "embedding", "created_at", "updated_at"}
)
"""The names of a view's other columns."""

MAX_COLUMNS: Final = 1_000
"""PostgreSQL allows 1,600 columns; a schema may have more keys."""

NAME_BYTES: Final = 63


def typed_columns(filterable: FilterableKeys, table: LiteralString) -> sql.Composable:
    """Compose a view's last columns, each after a comma, in the order of their names.

    A value of another type than the declared one is null. Keys with several types get no column,
    nor do keys that PostgreSQL cannot use as the name of a column, or that name one of the view's
    other columns.

    Args:
        filterable: The keys and types that the schema declares.
        table: The alias of the table of records in the view's statement.
    """
    declared = [(key, kind) for key in sorted(filterable.keys) if (kind := _kind(filterable, key))]
    return sql.SQL("").join(_column(key, kind, table) for key, kind in declared[:MAX_COLUMNS])


def _kind(filterable: FilterableKeys, key: str) -> ValueKind | None:
    kinds = [kind for kind, is_on in filterable.keys[key].items() if is_on]
    fits = 0 < len(key.encode()) <= NAME_BYTES and key not in OWN_COLUMNS
    return kinds[0] if fits and len(kinds) == 1 else None


def _column(key: str, kind: ValueKind, table: LiteralString) -> sql.Composable:
    template: LiteralString = ", (" + _EXPRESSIONS[kind] + ") as {name}"
    return sql.SQL(template).format(
        metadata=sql.SQL(table + ".metadata"),
        key=_escaped(sql.Literal(key)),
        name=_escaped(sql.Identifier(key)),
    )


def _escaped(part: sql.Composable) -> sql.Composable:
    # The text of a statement with placeholders has doubled percent signs.
    return ComposedSQL(text_of(part).replace(b"%", b"%%"))


# A float keeps its decimal point in jsonb, which distinguishes it from an int. The inner case
# guarantees the order in which conditions are evaluated; `and` does not. A float that JavaScript
# wrote may have arrived as an int.
_EXPRESSIONS: Final[dict[ValueKind, LiteralString]] = {
    "int": """
        case jsonb_typeof({metadata} -> {key}) when 'number' then
            case when scale(({metadata} -> {key})::numeric) = 0
                    and ({metadata} -> {key})::numeric
                        between -9223372036854775808 and 9223372036854775807
                then ({metadata} -> {key})::bigint
            end
        end
        """,
    "float": """
        case jsonb_typeof({metadata} -> {key}) when 'number'
            then ({metadata} -> {key})::double precision
        end
        """,
    "bool": """
        case jsonb_typeof({metadata} -> {key}) when 'boolean'
            then ({metadata} -> {key})::boolean
        end
        """,
    "string": """
        case jsonb_typeof({metadata} -> {key}) when 'string' then {metadata} ->> {key} end
        """,
}
