"""The privileges of a PostgreSQL user on the catalog and on the tables of collections."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pgchroma.store.layout.names import RELATIONS, base_name
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "CATALOG",
    "VIEWS",
    "Access",
    "Relation",
    "Schema",
    "access_of",
    "schemas_of_databases",
    "schemas_with_collections",
)

CATALOG: Final = "pgchroma"
VIEWS: Final = "chroma"

_OWN_NAME: Final = re.compile(rf"(?:{'|'.join(RELATIONS)})_[0-9a-f]{{32}}|~catalog")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, its owner, and the user's privileges on it."""

    name: str
    owner: str
    is_superusers: bool
    is_owned: bool
    may_use: bool
    may_create: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, sequence or function, its owner, and the user's privileges on it.

    Attributes:
        base: The table of records behind the view of a collection. For other relations, the name.
        kind: PostgreSQL's letter: ``r``, ``v`` or ``S``, and ``f`` for a function.
        may_read: Whether the user may select from it, or use it if it is a sequence.
        may_write: Whether the user may insert, update and delete.
    """

    schema: str
    name: str
    base: str
    kind: str
    owner: str
    is_superusers: bool
    is_owned: bool
    may_read: bool
    may_write: bool

    @property
    def is_table(self) -> bool:
        """Whether this is a table or a view."""
        return self.kind in ("r", "v")

    @property
    def is_sequence(self) -> bool:
        """Whether this is a sequence."""
        return self.kind == "S"


@dataclass(frozen=True, slots=True)
class Access:
    """The privileges of a user, according to PostgreSQL's catalogs.

    Attributes:
        data: The names of the schemas of Chroma databases that were examined.
        vector_schema: The schema of the type `vector`. None if the extension is missing.
        creators: By schema, the roles that were granted the right to create in it.
    """

    user: str
    database: str
    database_owner: str
    may_create_schemas: bool
    data: tuple[str, ...]
    vector_schema: str | None
    schemas: tuple[Schema, ...]
    relations: tuple[Relation, ...]
    creators: Mapping[str, list[str]]

    def owners(self) -> list[str]:
        """Return the roles that own the schemas and relations, sorted by name."""
        schemas = (schema.owner for schema in self.schemas if schema.name != self.vector_schema)
        return sorted({*schemas, *(relation.owner for relation in self.relations)})


def access_of(schemas: Sequence[str], user: str | None = None) -> Steps[Access]:
    """Read a user's privileges on the catalog and on schemas of Chroma databases.

    Args:
        schemas: The schemas of databases. Schemas that do not exist are ignored.
        user: The PostgreSQL user. None means the current user.
    """
    named = {"schemas": [CATALOG, VIEWS, *schemas], "user": user}
    user_name, database, owner, may_create, vector = (yield Statement(_USER, named))[0]
    named |= {"user": user_name, "vector": vector}
    existing = tuple(Schema(*row) for row in (yield Statement(_SCHEMAS, named)))
    relations = [Relation(*row) for row in (yield Statement(_RELATIONS, named))]
    names = {schema.name for schema in existing}
    creators: dict[str, list[str]] = {}
    for schema, creator in (yield Statement(_CREATORS, named)):
        creators.setdefault(schema, []).append(creator)
    return Access(
        user_name,
        database,
        owner,
        may_create,
        tuple(schema for schema in schemas if schema in names),
        vector,
        existing,
        tuple(relation for relation in relations if _is_own(relation)),
        creators,
    )


def schemas_of_databases(tenant: str | None, database: str | None) -> Steps[list[str]]:
    """Return the names of the schemas of all databases, of a tenant's databases, or of one."""
    rows = yield Statement(_DATABASES, {"tenant": tenant, "database": database})
    return [schema for (schema,) in rows]


def schemas_with_collections() -> Steps[list[str]]:
    """Return the names of the schemas with collections, without reading the catalog.

    The user may lack the privilege to read it.
    """
    return [schema for (schema,) in (yield Statement(_WITH_COLLECTIONS))]


def _is_own(relation: Relation) -> bool:
    if relation.schema in (CATALOG, VIEWS):
        return True
    return _OWN_NAME.fullmatch(base_name(relation.base)) is not None


_USER = render(
    """
    select
        coalesce(%(user)s, current_user)::text,
        d.datname::text,
        pg_get_userbyid(d.datdba)::text,
        has_database_privilege(coalesce(%(user)s, current_user)::name, d.oid, 'create'),
        (
            select n.nspname::text from pg_catalog.pg_extension as e
            join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
            where e.extname = 'vector'
        )
    from pg_catalog.pg_database as d
    where d.datname = current_database()
    """
)

_DATABASES = render(
    """
    select schema_name from pgchroma.databases
    where (tenant = %(tenant)s or %(tenant)s::text is null)
        and (name = %(database)s or %(database)s::text is null)
    order by schema_name
    """
)

_WITH_COLLECTIONS = render(
    """
    select distinct n.nspname::text
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relname ~ '^records_[0-9a-f]{{32}}$'
        and not starts_with(n.nspname::text, 'pgchroma:')
    order by 1
    """
)

_SCHEMAS = render(
    """
    select
        n.nspname::text, o.rolname::text, o.rolsuper,
        pg_has_role(%(user)s::name, n.nspowner, 'usage'),
        has_schema_privilege(%(user)s::name, n.oid, 'usage'),
        has_schema_privilege(%(user)s::name, n.oid, 'create')
    from pg_catalog.pg_namespace as n
    join pg_catalog.pg_roles as o on o.oid = n.nspowner
    where n.nspname = any(%(schemas)s) or n.nspname = %(vector)s
    order by array_position(%(schemas)s, n.nspname::text)
    """
)

_CREATORS = render(
    """
    select n.nspname::text, pg_get_userbyid(a.grantee)::text
    from pg_catalog.pg_namespace as n
    cross join lateral aclexplode(n.nspacl) as a
    where n.nspname = any(%(schemas)s) and a.privilege_type = 'CREATE' and a.grantee <> 0
    order by 1, 2
    """
)

_RELATIONS = render(
    """
    select
        n.nspname::text,
        c.relname::text,
        coalesce(
            (
                select t.relname::text
                from pg_catalog.pg_rewrite as w
                join pg_catalog.pg_depend as d
                    on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
                join pg_catalog.pg_class as t on t.oid = d.refobjid
                where w.ev_class = c.oid and t.relnamespace = n.oid
                    and starts_with(t.relname::text, 'records_')
                limit 1
            ),
            c.relname::text
        ),
        c.relkind::text,
        o.rolname::text,
        o.rolsuper,
        pg_has_role(%(user)s::name, c.relowner, 'usage'),
        case
            when c.relkind = 'S' then has_sequence_privilege(%(user)s::name, c.oid, 'usage')
            else has_table_privilege(%(user)s::name, c.oid, 'select')
        end,
        c.relkind = 'r'
            and has_table_privilege(%(user)s::name, c.oid, 'insert')
            and has_table_privilege(%(user)s::name, c.oid, 'update')
            and has_table_privilege(%(user)s::name, c.oid, 'delete')
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    join pg_catalog.pg_roles as o on o.oid = c.relowner
    where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'v', 'S')
    union all
    select
        n.nspname::text, p.proname::text, p.proname::text, 'f', o.rolname::text, o.rolsuper,
        pg_has_role(%(user)s::name, p.proowner, 'usage'), true, true
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    join pg_catalog.pg_roles as o on o.oid = p.proowner
    where n.nspname in ('pgchroma', 'chroma')
    order by 1, 2
    """
)
