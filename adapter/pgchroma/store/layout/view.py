"""Typed columns of a collection's view: one for each key that its schema declares one type of."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from pgchroma.model.filterable import FilterableKeys, Kind
from pgchroma.store.running.steps import ComposedSQL, text_of

__all__ = ("OWN_COLUMNS", "typed_columns")

OWN_COLUMNS: Final = frozenset(
    {"id", "document", "uri", "metadata", "embedding", "created_at", "updated_at"}
)
"""What a view's other columns are called."""

MOST: Final = 1_000
"""PostgreSQL ends at 1,600 columns; a schema may name more keys."""

NAME_BYTES: Final = 63


def typed_columns(filterable: FilterableKeys, table: LiteralString) -> sql.Composable:
    """Compose a view's last columns, each with a comma in front, in the order of their names.

    A value of another type than declared is null there. Left out are keys with several types,
    those that PostgreSQL cannot have as the name of a column, and those of the view's own columns.

    Args:
        filterable: What the schema declares.
        table: The table of records as the view's statement calls it.
    """
    declared = [(key, kind) for key in sorted(filterable.keys) if (kind := _kind(filterable, key))]
    return sql.SQL("").join(_column(key, kind, table) for key, kind in declared[:MOST])


def _kind(filterable: FilterableKeys, key: str) -> Kind | None:
    kinds = [kind for kind, is_on in filterable.keys[key].items() if is_on]
    fits = 0 < len(key.encode()) <= NAME_BYTES and key not in OWN_COLUMNS
    return kinds[0] if fits and len(kinds) == 1 else None


def _column(key: str, kind: Kind, table: LiteralString) -> sql.Composable:
    template: LiteralString = ", (" + _EXPRESSIONS[kind] + ") as {name}"
    return sql.SQL(template).format(
        metadata=sql.SQL(table + ".metadata"),
        key=_placed(sql.Literal(key)),
        name=_placed(sql.Identifier(key)),
    )


def _placed(part: sql.Composable) -> sql.Composable:
    # It stands in the text of a statement with placeholders.
    return ComposedSQL(text_of(part).replace(b"%", b"%%"))


# A float keeps its point in jsonb, which is how ints are told apart. The inner case is for the
# order in which conditions are looked at, which `and` does not promise. A float that was written
# by JavaScript may have come as an int.
_EXPRESSIONS: Final[dict[Kind, LiteralString]] = {
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
