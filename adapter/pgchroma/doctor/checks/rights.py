"""The rights of the user: to read and write, to build indexes, and to create databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.collections import KNOWN, tables_of_known
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, info, not_checked, warning
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)


@dataclass(frozen=True, slots=True)
class _Rights:
    """The tables of collections, by what the user may do.

    Attributes:
        unreadable: How many the user may not read.
        unwritable: How many the user may not write to.
        foreign: How many the user does not own.
        may_create: Whether the user may create databases and tenants.
        is_filtered: Whether row-level security hides rows of the catalog.
    """

    user: str
    tables: int
    unreadable: int
    unwritable: int
    foreign: int
    may_create: bool
    is_filtered: bool

    def grants(self, profile: str) -> str:
        """Return the command that prints the missing grants."""
        return f"pgchroma grants {profile} {sql.Identifier(self.user).as_string(None)}"


@catalog_check("serving-rights")
def _serving(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_rights)
    subject = f"role {found.user}"
    if found.is_filtered:
        yield not_checked(
            "serving-rights",
            "row-level security hides collections from this user",
            f"alter role {sql.Identifier(found.user).as_string(None)} bypassrls",
        )
    if found.unreadable:
        yield not_checked(
            "serving-rights",
            f"the user may not read {found.unreadable} of {found.tables} tables of collections",
            found.grants("reader"),
            tables=found.unreadable,
        )
    if 0 < found.unwritable < found.tables:
        yield warning(
            subject,
            f"the user may not write to {found.unwritable} of {found.tables} tables of collections",
            "writes to some collections fail",
            found.grants("writer"),
            tables=found.unwritable,
        )
    elif found.unwritable:
        yield info(
            subject,
            "the user may not write to any collection",
            "none for a user who only reads",
            found.grants("writer"),
            tables=found.unwritable,
        )


@catalog_check("compaction-rights")
def _compaction(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_rights)
    if 0 < found.foreign < found.tables:
        yield warning(
            f"role {found.user}",
            f"the user neither owns {found.foreign} of {found.tables} tables nor is a member of "
            "their owners",
            "a compactor of this user builds no indexes for them",
            found.grants("owner"),
            tables=found.foreign,
        )
    elif found.foreign:
        yield info(
            f"role {found.user}",
            "the user owns no table of a collection",
            "indexes are built only by a compactor of another user",
            found.grants("owner"),
            tables=found.foreign,
        )


@catalog_check("administration-rights")
def _administration(database: Database) -> Iterator[Finding]:
    found = database.shared(_read_rights)
    if not found.may_create:
        yield info(
            f"role {found.user}",
            "the user may not create databases",
            "create_database and create_tenant fail",
            found.grants("owner"),
        )


def _read_rights(database: Database) -> _Rights:
    return _Rights(*database.row(_RIGHTS))


# With a role for each tenant, the user becomes that role.
_RIGHTS: Final = render(
    """
    select
        current_user::text,
        count(t.oid),
        count(t.oid) filter (
            where not (has_schema_privilege(k.namespace, 'usage')
                and has_table_privilege(t.oid, 'select') or m.is_member)
        ),
        count(t.oid) filter (
            where not (
                has_table_privilege(t.oid, 'insert') and has_table_privilege(t.oid, 'update')
                and has_table_privilege(t.oid, 'delete') or m.is_member
            )
        ),
        count(t.oid) filter (where not m.is_member),
        has_database_privilege(current_database(), 'create')
            and has_table_privilege('pgchroma.databases', 'insert'),
        row_security_active('pgchroma.collections')
    from {known} as k
    left join pgchroma.tenants as p on p.name = k.tenant
    {tables}
    cross join lateral (
        select pg_has_role(t.relowner, 'usage') or (
            pg_get_userbyid(t.relowner) = p.role_name and pg_has_role(t.relowner, 'set')
        )
    ) as m (is_member)
    """,
    known=KNOWN,
    tables=tables_of_known(),
)

CHECKS: Final = (_serving, _compaction, _administration)
