"""Views of schema `chroma` replaced on an upgrade, with what people gave and set on them kept.

`create or replace view` keeps grants and loses settings such as `security_invoker`; a view that is
dropped and made again loses both, and its owner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgchroma.store.running.steps import ComposedSQL, Rows, Statement, Steps, render

__all__ = ("Kept", "restore_view", "views_in", "what_is_kept")

SCHEMA = "chroma"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a view has that its definition does not say.

    Attributes:
        name: The view's name.
        drop: What drops it, unless somebody's object depends on it.
        settings: Statements that give it its settings, which any replacement loses.
        rights: Statements that give it its grants and its owner, which only a drop loses.
    """

    name: str
    drop: bytes
    settings: tuple[bytes, ...]
    rights: tuple[bytes, ...]


def views_in(text: str) -> list[str]:
    """Name the views that a file of `sql/` creates in schema `chroma`."""
    return re.findall(rf"^create or replace view {SCHEMA}\.(\w+)", text, re.MULTILINE)


def what_is_kept(views: Sequence[str]) -> Steps[list[Kept]]:
    """Look what those of these views that exist have."""
    found = []
    for view in views:
        for owner, options in (yield Statement(_LOOK, {"schema": SCHEMA, "view": view})):
            rights = yield Statement(_RIGHTS, {"schema": SCHEMA, "view": view})
            found.append(_kept(view, owner, options, rights))
    return found


def restore_view(kept: Kept, *, is_new: bool) -> Steps[None]:
    """Give a view back what it had, after it was replaced or dropped and made anew."""
    for text in (*kept.settings, *(kept.rights if is_new else ())):
        yield Statement(text)


def _kept(view: str, owner: str, options: Sequence[str], rights: Rows) -> Kept:
    name = sql.Identifier(SCHEMA, view)
    to_owner = "alter view {view} owner to {owner}"
    return Kept(
        f"{SCHEMA}.{view}",
        render("drop view {view}", view=name),
        tuple(_setting(name, *option.split("=", 1)) for option in options),
        (
            *(_grant(name, *right) for right in rights),
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
        privilege=ComposedSQL(privilege.encode()),
        columns=columns,
        view=view,
        grantee=sql.SQL("public") if grantee is None else sql.Identifier(grantee),
        ending=sql.SQL(" with grant option" if may_grant else ""),
    )


_LOOK = render(
    """
    select pg_get_userbyid(c.relowner)::text, coalesce(c.reloptions, '{{}}')
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(view)s and c.relkind = 'v'
    """
)

_RIGHTS = render(
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
