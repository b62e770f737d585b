"""The grants that each kind of PostgreSQL user needs, and those that a user lacks.

There are four kinds. An *analyst* reads in SQL, with views and the functions of the schema
`chroma`. A *reader* reads records through the API. A *writer* also writes records, and creates and
owns collections. An *owner* may do everything, including upgrades and building indexes.

Only the owner of a table may drop, rename or index it. So an owner is granted membership in the
roles that own the existing objects. If a superuser owns them, membership would grant every right:
the ownership of the objects is transferred instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.access import CATALOG, VIEWS, Access, Relation, Schema

__all__ = ("READ", "Profile", "grants_for", "missing_grants", "missing_grants_to_upgrade")

READ: Final = (
    "alembic_version",
    "tenants",
    "databases",
    "collections",
    "segments",
    "secondary_indexes",
    "reembeddings",
    "memory_indexes",
)
"""The tables of the catalog that every client reads. The table of credentials is not among them."""

_WRITTEN: Final = ("collections", "secondary_indexes", "reembeddings")
"""The tables of the catalog that are written to by writing records or creating collections."""


class Profile(IntEnum):
    """Kinds of users. Each kind has the rights of all the kinds before it."""

    ANALYST = 0
    READER = 1
    WRITER = 2
    OWNER = 3

    @property
    def word(self) -> str:
        """The name on the command line."""
        return self.name.lower()


def missing_grants(
    access: Access, profile: Profile, *, owned: str | None = None, administers: bool = False
) -> list[str]:
    """Return the statements that grant a user the rights that are missing.

    Args:
        access: The privileges that the user has.
        profile: The kind of user that has the required rights.
        owned: A part of the names of the tables that the user has to own. None means no table.
        administers: Whether the user has to change tenants and databases.
    """
    must_own = [
        relation
        for relation in _foreign_relations(access)
        if owned is not None and relation.schema in access.data and owned in relation.base
    ]
    statements = [
        *_usage(access, only_missing=True),
        *_catalog(access, profile, administers=administers, only_missing=True),
        *_data(access, profile, only_missing=True),
        *_ownership(access.user, must_own),
    ]
    if administers and not access.may_create_schemas:
        statements.append(_database_grant(access))
    return _texts(statements)


def missing_grants_to_upgrade(access: Access) -> list[str]:
    """Return the statements that let a user create or upgrade the catalog."""
    existing = {schema.name for schema in access.schemas}
    statements = [*_usage(access, only_missing=True)]
    if not access.may_create_schemas and not existing.issuperset((CATALOG, VIEWS, *access.data)):
        statements.append(_database_grant(access))
    statements += [
        _on_schema("create", schema.name, access.user)
        for schema in access.schemas
        if schema.name != access.vector_schema and not schema.may_create
    ]
    return _texts([*statements, *_ownership(access.user, _foreign_relations(access))])


def grants_for(access: Access, profile: Profile) -> list[str]:
    """Return all statements that grant a kind of user its rights, with default privileges."""
    has_catalog = profile >= Profile.READER
    statements = [*_usage(access, has_catalog=has_catalog, only_missing=False)]
    is_owner = profile is Profile.OWNER
    if has_catalog:
        statements += _catalog(access, profile, administers=is_owner, only_missing=False)
    statements += _views(access)
    statements += _data(access, profile, only_missing=False)
    if is_owner:
        statements += [_database_grant(access), *_all_ownership(access)]
    statements += _defaults(access, profile)
    return _texts(statements)


def _foreign_relations(access: Access) -> list[Relation]:
    # A sequence has the owner of its table.
    return [
        relation for relation in access.relations if not (relation.is_owned or relation.is_sequence)
    ]


def _usage(
    access: Access, *, has_catalog: bool = True, only_missing: bool
) -> Iterator[sql.Composable]:
    required = {*access.data, access.vector_schema} | ({CATALOG} if has_catalog else set())
    for schema in access.schemas:
        if schema.name in required and not (only_missing and schema.may_use):
            yield _on_schema("usage", schema.name, access.user)


def _catalog(
    access: Access, profile: Profile, *, administers: bool, only_missing: bool
) -> Iterator[sql.Composable]:
    tables = {
        relation.name: relation
        for relation in access.relations
        if relation.schema == CATALOG and relation.is_table
    }
    read = [name for name in READ if name in tables]
    if not (only_missing and all(tables[name].may_read for name in read)):
        yield _on_tables("select", read, access.user)
    written = list(_WRITTEN) if profile >= Profile.WRITER else []
    if administers:
        written = [name for name in tables if name != "alembic_version"]
    written = [name for name in written if name in tables]
    if written and not (only_missing and all(tables[name].may_write for name in written)):
        yield _on_tables("select, insert, update, delete", sorted(written), access.user)


def _data(access: Access, profile: Profile, *, only_missing: bool) -> Iterator[sql.Composable]:
    is_writer = profile >= Profile.WRITER
    for schema in access.schemas:
        if schema.name not in access.data:
            continue
        relations = [relation for relation in access.relations if relation.schema == schema.name]
        tables = [relation for relation in relations if relation.is_table]
        may_read = all(table.may_read for table in tables)
        may_write = all(table.may_write for table in tables if table.kind == "r")
        may_draw = all(relation.may_read for relation in relations if relation.is_sequence)
        if is_writer and not (only_missing and schema.may_create):
            yield _on_schema("create", schema.name, access.user)
        if is_writer and not (only_missing and may_write and may_read):
            yield _on_all("select, insert, update, delete", "tables", schema.name, access.user)
        if not is_writer and not (only_missing and may_read):
            yield _on_all("select", "tables", schema.name, access.user)
        if is_writer and not (only_missing and may_draw):
            yield _on_all("usage", "sequences", schema.name, access.user)


def _views(access: Access) -> Iterator[sql.Composable]:
    # The views show what is in schemas that the user may use, and no more.
    if any(schema.name == VIEWS for schema in access.schemas):
        yield _on_schema("usage", VIEWS, access.user)
        yield _on_all("select", "tables", VIEWS, access.user)


def _ownership(user: str, objects: Sequence[Relation | Schema]) -> Iterator[sql.Composable]:
    for object in objects:
        if object.owner == user:
            continue
        if not object.is_superusers:
            yield _render(
                "grant {owner} to {user}",
                owner=sql.Identifier(object.owner),
                user=sql.Identifier(user),
            )
        elif isinstance(object, Schema):
            name = sql.Identifier(object.name)
            yield _change_owner("alter schema {name} owner to {user}", name, user)
        elif object.kind == "f":
            yield _routines_owner(object.schema, user)
        else:
            kinds: dict[str, LiteralString] = {"r": "table", "v": "view"}
            template: LiteralString = "alter " + kinds[object.kind] + " {name} owner to {user}"
            yield _change_owner(template, sql.Identifier(object.schema, object.name), user)


def _routines_owner(schema: str, user: str) -> sql.Composable:
    """Change the owner of all routines of a schema in one statement; there are dozens."""
    return _render(
        "do $$ declare own regprocedure; begin for own in select oid from pg_catalog.pg_proc "
        "where pronamespace = {schema}::regnamespace loop "
        "execute format('alter routine %s owner to %I', own, {user}); end loop; end $$",
        schema=sql.Literal(schema),
        user=sql.Literal(user),
    )


def _all_ownership(access: Access) -> Iterator[sql.Composable]:
    names = (CATALOG, VIEWS, *access.data)
    schemas = [schema for schema in access.schemas if schema.name in names]
    # A sequence has the owner of its table.
    relations = [relation for relation in access.relations if not relation.is_sequence]
    yield from _ownership(access.user, [*schemas, *relations])


def _defaults(access: Access, profile: Profile) -> Iterator[sql.Composable]:
    """Grant the user the same rights on objects that others create later.

    If the user is a writer, grant the owners the same rights on objects that the user creates.
    """
    is_writer = profile >= Profile.WRITER
    superusers = {relation.owner for relation in access.relations if relation.is_superusers}
    for schema in access.data:
        creators = {*access.owners(), *access.creators.get(schema, [])} - {access.user}
        for creator in sorted(creators):
            yield from _default(schema, creator, access.user, is_writer=is_writer)
        owners = set(access.owners()) - superusers - {access.user} if is_writer else set()
        for owner in sorted(owners):
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
        tables=sql.SQL(", ").join(sql.Identifier(CATALOG, name) for name in tables),
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


def _change_owner(template: LiteralString, name: sql.Identifier, user: str) -> sql.Composable:
    return _render(template, name=name, user=sql.Identifier(user))


def _render(template: LiteralString, **parts: sql.Composable) -> sql.Composable:
    return sql.SQL(template).format(**parts)


def _texts(statements: Iterable[sql.Composable]) -> list[str]:
    return list(dict.fromkeys(statement.as_string(None) for statement in statements))
