"""What a user of PostgreSQL may do with the catalog and the tables of collections."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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

_OURS: Final = re.compile(r"(records|vectors|spare|counts|log)_[0-9a-f]{32}(_[0-9]+)?|~catalog")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, its owner, and what the user may do in it."""

    name: str
    owner: str
    is_superusers: bool
    is_owned: bool
    may_use: bool
    may_create: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, sequence or function, its owner, and what the user may do with it.

    Attributes:
        base: Of the view of a collection the table of its records, else the name.
        kind: PostgreSQL's letter: ``r``, ``v`` or ``S``; of a function ``f``.
        may_read: Of a sequence, whether the user may draw from it.
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
        """Whether it is one, or a view."""
        return self.kind in ("r", "v")

    @property
    def is_sequence(self) -> bool:
        """Whether it is one."""
        return self.kind == "S"


@dataclass(frozen=True, slots=True)
class Access:
    """What a user may do, as PostgreSQL has it.

    Attributes:
        data: The names of the schemas of Chroma databases that are looked at.
        vector_schema: The schema of the type `vector`; None if there is none.
        creators: By schema, the roles that were given the right to create in it.
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
        """Name the roles that own what there is."""
        schemas = (each.owner for each in self.schemas if each.name != self.vector_schema)
        return sorted({*schemas, *(each.owner for each in self.relations)})


def access_of(schemas: Sequence[str], user: str | None = None) -> Steps[Access]:
    """Look at what a user may do in the catalog and in schemas of Chroma databases.

    Args:
        schemas: Which; those that do not exist are passed over.
        user: Whose rights; None: those of the user who asks.
    """
    named = {"schemas": [CATALOG, VIEWS, *schemas], "user": user}
    who, database, owner, may_create, vector = (yield Statement(_USER, named))[0]
    named |= {"user": who, "vector": vector}
    found = [Schema(*row) for row in (yield Statement(_SCHEMAS, named))]
    relations = [Relation(*row) for row in (yield Statement(_RELATIONS, named))]
    existing = {schema.name for schema in found}
    data = tuple(schema for schema in schemas if schema in existing)
    ours = tuple(each for each in relations if _is_ours(each))
    creators: dict[str, list[str]] = {}
    for schema, creator in (yield Statement(_CREATORS, named)):
        creators.setdefault(schema, []).append(creator)
    return Access(who, database, owner, may_create, data, vector, tuple(found), ours, creators)


def schemas_of_databases(tenant: str | None, database: str | None) -> Steps[list[str]]:
    """Name the schemas of all Chroma databases, of those of a tenant, or of one."""
    rows = yield Statement(_DATABASES, {"tenant": tenant, "database": database})
    return [schema for (schema,) in rows]


def schemas_with_collections() -> Steps[list[str]]:
    """Name the schemas in which collections are, for a user who may not read the catalog."""
    return [schema for (schema,) in (yield Statement(_WITH_COLLECTIONS))]


def _is_ours(relation: Relation) -> bool:
    return relation.schema in (CATALOG, VIEWS) or _OURS.fullmatch(relation.base) is not None


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
