"""Views of the schema `chroma`, which keep their grants and settings when an upgrade replaces them.

`create or replace view` keeps grants and loses settings such as `security_invoker`. Dropping and
recreating a view loses both, and the owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgchroma.store.running.steps import ComposedSQL, Rows, Statement, Steps, composed, render

__all__ = ("ViewState", "functions_in", "read_views", "restore_view", "views_in")

SCHEMA = "chroma"


@dataclass(frozen=True, slots=True)
class ViewState:
    """The settings, the grants and the owner of a view, which its definition does not contain.

    Attributes:
        name: The view's name.
        drop: The statement that drops it; it fails if a user's object depends on the view.
        settings: Statements that restore its settings, which every replacement loses.
        grants: Statements that restore its grants and its owner, which only a drop loses.
    """

    name: str
    drop: bytes
    settings: tuple[bytes, ...]
    grants: tuple[bytes, ...]


def views_in(text: str) -> list[str]:
    """Return the names of the views that a file of `sql/` creates in the schema `chroma`."""
    return re.findall(rf"^create or replace view {SCHEMA}\.(\w+)", text, re.MULTILINE)


def functions_in(text: str) -> list[str]:
    """Return the names of the functions that a file of `sql/` creates in the schema `chroma`."""
    return re.findall(rf"^create or replace function {SCHEMA}\.(\w+)", text, re.MULTILINE)


def read_views(views: Sequence[str]) -> Steps[list[ViewState]]:
    """Read the state of those of these views that exist."""
    states = []
    for view in views:
        for owner, options in (yield Statement(_VIEW, {"schema": SCHEMA, "view": view})):
            grants = yield Statement(_VIEW_GRANTS, {"schema": SCHEMA, "view": view})
            states.append(_state(view, owner, options, grants))
    return states


def restore_view(view: ViewState, *, is_new: bool) -> Steps[None]:
    """Restore the settings of a view; if it was dropped and recreated, also its grants."""
    for text in (*view.settings, *(view.grants if is_new else ())):
        yield Statement(text)


def _state(view: str, owner: str, options: Sequence[str], grants: Rows) -> ViewState:
    name = sql.Identifier(SCHEMA, view)
    to_owner = "alter view {view} owner to {owner}"
    return ViewState(
        f"{SCHEMA}.{view}",
        render("drop view {view}", view=name),
        tuple(_setting(name, *option.split("=", 1)) for option in options),
        (
            *(_grant(name, *grant) for grant in grants),
            render(to_owner, view=name, owner=sql.Identifier(owner)),
        ),
    )


def _setting(view: sql.Identifier, name: str, value: str) -> bytes:
    parts = {"view": view, "name": sql.Identifier(name), "value": sql.Literal(value)}
    return render("alter view {view} set ({name} = {value})", **parts)


def _grant(
    view: sql.Identifier, privilege: str, column: str | None, grantee: str | None, may_grant: bool
) -> bytes:
    columns = (
        ComposedSQL(b"") if column is None else sql.SQL(" ({})").format(sql.Identifier(column))
    )
    return render(
        "grant {privilege}{columns} on {view} to {grantee}{ending}",
        privilege=composed(privilege),
        columns=columns,
        view=view,
        grantee=sql.SQL("public") if grantee is None else sql.Identifier(grantee),
        ending=sql.SQL(" with grant option" if may_grant else ""),
    )


_VIEW = render(
    """
    select pg_get_userbyid(c.relowner)::text, coalesce(c.reloptions, '{{}}')
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(view)s and c.relkind = 'v'
    """
)

_VIEW_GRANTS = render(
    """
    select
        r.privilege_type,
        a.column_name,
        case when r.grantee <> 0 then pg_get_userbyid(r.grantee)::text end,
        r.is_grantable
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    cross join lateral (
        select null::text, c.relacl
        union all
        select attname::text, attacl from pg_catalog.pg_attribute where attrelid = c.oid
    ) as a (column_name, acl)
    cross join lateral aclexplode(a.acl) as r
    where n.nspname = %(schema)s and c.relname = %(view)s and r.grantee <> c.relowner
    """
)
