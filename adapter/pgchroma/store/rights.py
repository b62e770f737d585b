"""Rights of a user of PostgreSQL: what each kind of user needs, and what somebody lacks.

Four kinds. A *reader* reads records through the API; an *analyst* reads views in SQL. A *writer*
also writes records, and creates collections, which are the writer's own. An *owner* may do
everything, upgrades and indexes among it.

Only the owner of a table may drop, rename or index it. So an owner becomes a member of the role
that owns what there is; of a superuser, whose member could do anything, the owner takes it over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.access import CATALOG, VIEWS, Access, Relation, Schema

__all__ = ("Profile", "grants_for", "missing_grants", "missing_grants_to_upgrade")

_READ: Final = (
    "alembic_version",
    "tenants",
    "databases",
    "collections",
    "segments",
    "secondary_indexes",
    "reembeddings",
)
"""The tables of the catalog that every client reads; not those with credentials."""

_WRITTEN: Final = ("collections", "secondary_indexes", "reembeddings")
"""Those that whoever writes records or creates collections writes to."""


class Profile(IntEnum):
    """Kinds of users; each may do what those before it may."""

    ANALYST = 0
    READER = 1
    WRITER = 2
    OWNER = 3

    @property
    def word(self) -> str:
        """What the command line calls it."""
        return self.name.lower()


def missing_grants(
    access: Access, profile: Profile, *, owned: str | None = None, administers: bool = False
) -> list[str]:
    """Compose the statements that give the user what is missing.

    Args:
        access: What the user may do.
        profile: What kind of user could do what this one could not.
        owned: A part of the names of tables that have to be the user's own; None for none.
        administers: Whether tenants and databases are to be changed.
    """
    foreign = [each for each in access.relations if not (each.is_owned or each.is_sequence)]
    must_own = [
        each
        for each in foreign
        if owned is not None and each.schema in access.data and owned in each.base
    ]
    wanted = [
        *_usage(access, only_missing=True),
        *_catalog(access, profile, administers=administers, only_missing=True),
        *_data(access, profile, only_missing=True),
        *_ownership(access.user, must_own),
    ]
    if administers and not access.may_create_schemas:
        wanted.append(_database_grant(access))
    return list(dict.fromkeys(map(_text, wanted)))


def missing_grants_to_upgrade(access: Access) -> list[str]:
    """Compose the statements that let the user make or upgrade the catalog."""
    existing = {schema.name for schema in access.schemas}
    wanted = [*_usage(access, only_missing=True)]
    if not access.may_create_schemas and not existing.issuperset((CATALOG, VIEWS, *access.data)):
        wanted.append(_database_grant(access))
    wanted += [
        _on_schema("create", schema.name, access.user)
        for schema in access.schemas
        if schema.name != access.vector_schema and not schema.may_create
    ]
    tables = [each for each in access.relations if not (each.is_owned or each.is_sequence)]
    return list(dict.fromkeys(map(_text, [*wanted, *_ownership(access.user, tables)])))


def grants_for(access: Access, profile: Profile, *, is_confined: bool = False) -> list[str]:
    """Compose all statements that make a user one of a kind, with default privileges.

    Args:
        access: Of whom, and to which schemas.
        profile: The kind.
        is_confined: Whether the views over all tenants are left out.
    """
    has_catalog = profile >= Profile.READER
    wanted = [*_usage(access, has_catalog=has_catalog, only_missing=False)]
    is_owner = profile is Profile.OWNER
    if has_catalog:
        wanted += _catalog(access, profile, administers=is_owner, only_missing=False)
    if not is_confined:
        wanted += _views(access)
    wanted += _data(access, profile, only_missing=False)
    if is_owner:
        wanted += [_database_grant(access), *_all_ownership(access)]
    wanted += _defaults(access, profile)
    return list(dict.fromkeys(map(_text, wanted)))


def _usage(
    access: Access, *, has_catalog: bool = True, only_missing: bool
) -> Iterator[sql.Composable]:
    wanted = {*access.data, access.vector_schema} | ({CATALOG} if has_catalog else set())
    for schema in access.schemas:
        if schema.name in wanted and not (only_missing and schema.may_use):
            yield _on_schema("usage", schema.name, access.user)


def _catalog(
    access: Access, profile: Profile, *, administers: bool, only_missing: bool
) -> Iterator[sql.Composable]:
    relations = [each for each in access.relations if each.schema == CATALOG]
    tables = {each.name: each for each in relations if each.is_table}
    read = [each for each in _READ if each in tables]
    if not (only_missing and all(tables[each].may_read for each in read)):
        yield _on_tables("select", read, access.user)
    written = list(_WRITTEN) if profile >= Profile.WRITER else []
    if administers:
        written = [each for each in tables if each != "alembic_version"]
    written = [each for each in written if each in tables]
    if written and not (only_missing and all(tables[each].may_write for each in written)):
        yield _on_tables("select, insert, update, delete", sorted(written), access.user)


def _data(access: Access, profile: Profile, *, only_missing: bool) -> Iterator[sql.Composable]:
    is_writer = profile >= Profile.WRITER
    for schema in access.schemas:
        if schema.name not in access.data:
            continue
        relations = [each for each in access.relations if each.schema == schema.name]
        tables = [each for each in relations if each.is_table]
        may_read = all(each.may_read for each in tables)
        may_write = all(each.may_write for each in tables if each.kind == "r")
        may_draw = all(each.may_read for each in relations if each.is_sequence)
        if is_writer and not (only_missing and schema.may_create):
            yield _on_schema("create", schema.name, access.user)
        if is_writer and not (only_missing and may_write and may_read):
            yield _on_all("select, insert, update, delete", "tables", schema.name, access.user)
        if not is_writer and not (only_missing and may_read):
            yield _on_all("select", "tables", schema.name, access.user)
        if is_writer and not (only_missing and may_draw):
            yield _on_all("usage", "sequences", schema.name, access.user)


def _views(access: Access) -> Iterator[sql.Composable]:
    if any(schema.name == VIEWS for schema in access.schemas):
        yield _on_schema("usage", VIEWS, access.user)
        yield _on_all("select", "tables", VIEWS, access.user)


def _ownership(user: str, objects: Sequence[Relation | Schema]) -> Iterator[sql.Composable]:
    for each in objects:
        if each.owner == user:
            continue
        if not each.is_superusers:
            yield _render(
                "grant {owner} to {user}",
                owner=sql.Identifier(each.owner),
                user=sql.Identifier(user),
            )
        elif isinstance(each, Schema):
            yield _owner("alter schema {name} owner to {user}", sql.Identifier(each.name), user)
        else:
            kinds: dict[str, LiteralString] = {"r": "table", "v": "view", "f": "routine"}
            template: LiteralString = "alter " + kinds[each.kind] + " {name} owner to {user}"
            yield _owner(template, sql.Identifier(each.schema, each.name), user)


def _all_ownership(access: Access) -> Iterator[sql.Composable]:
    schemas = [each for each in access.schemas if each.name in (CATALOG, VIEWS, *access.data)]
    # The sequences belong to tables, whose owner is theirs.
    relations = [each for each in access.relations if not each.is_sequence]
    yield from _ownership(access.user, [*schemas, *relations])


def _defaults(access: Access, profile: Profile) -> Iterator[sql.Composable]:
    """Give the user the same rights on what others create later, and owners on the user's."""
    is_writer = profile >= Profile.WRITER
    supers = {each.owner for each in access.relations if each.is_superusers}
    for schema in access.data:
        creators = {*access.owners(), *access.creators.get(schema, [])} - {access.user}
        for creator in sorted(creators):
            yield from _default(schema, creator, access.user, is_writer=is_writer)
        for owner in sorted(set(access.owners()) - supers - {access.user}) if is_writer else ():
            yield from _default(schema, access.user, owner, is_writer=True)


def _default(schema: str, creator: str, user: str, *, is_writer: bool) -> Iterator[sql.Composable]:
    granted: list[tuple[LiteralString, LiteralString]] = [("select", "tables")]
    if is_writer:
        granted = [("select, insert, update, delete", "tables"), ("usage", "sequences")]
    for rights, kind in granted:
        yield _render(
            "alter default privileges for role {creator} in schema {schema} "
            "grant {rights} on {kind} to {user}",
            creator=sql.Identifier(creator),
            schema=sql.Identifier(schema),
            rights=sql.SQL(rights),
            kind=sql.SQL(kind),
            user=sql.Identifier(user),
        )


def _database_grant(access: Access) -> sql.Composable:
    return _render(
        "grant create on database {database} to {user}",
        database=sql.Identifier(access.database),
        user=sql.Identifier(access.user),
    )


def _on_schema(right: LiteralString, schema: str, user: str) -> sql.Composable:
    return _render(
        "grant {right} on schema {schema} to {user}",
        right=sql.SQL(right),
        schema=sql.Identifier(schema),
        user=sql.Identifier(user),
    )


def _on_tables(rights: LiteralString, tables: Sequence[str], user: str) -> sql.Composable:
    return _render(
        "grant {rights} on {tables} to {user}",
        rights=sql.SQL(rights),
        tables=sql.SQL(", ").join(sql.Identifier(CATALOG, each) for each in tables),
        user=sql.Identifier(user),
    )


def _on_all(rights: LiteralString, kind: LiteralString, schema: str, user: str) -> sql.Composable:
    return _render(
        "grant {rights} on all {kind} in schema {schema} to {user}",
        rights=sql.SQL(rights),
        kind=sql.SQL(kind),
        schema=sql.Identifier(schema),
        user=sql.Identifier(user),
    )


def _owner(template: LiteralString, name: sql.Identifier, user: str) -> sql.Composable:
    return _render(template, name=name, user=sql.Identifier(user))


def _render(template: LiteralString, **parts: sql.Composable) -> sql.Composable:
    return sql.SQL(template).format(**parts)


def _text(statement: sql.Composable) -> str:
    return statement.as_string(None)
