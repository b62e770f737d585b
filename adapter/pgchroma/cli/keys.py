"""``pgchroma keys`` and ``pgchroma users``: who may use a server."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce

import click

from pgchroma.cli.database import Database, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import print_json, printable
from pgchroma.model.credentials import ROLES, Credential, Kind, Role, Scope, Target
from pgchroma.model.hashes import MAX_PASSWORD_CHARACTERS, Key
from pgchroma.model.operations.credentials import (
    CreateCredential,
    ListCredentials,
    RevokeCredential,
    new_key,
    new_user,
)

__all__ = ("keys", "users")

_SPAN = re.compile(r"([0-9]{1,6})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def moment(text: str) -> datetime:
    """Return a time to come, given as so long from now or as a day; the type of an option.

    Raises:
        click.BadParameter: It is neither, or has passed.
    """
    try:
        found = _moment(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is neither like 12h, 30d or 4w nor like 2027-01-01"
        ) from error
    if found <= datetime.now(UTC):
        raise click.BadParameter(f"{text} has passed")
    return found


def _moment(text: str) -> datetime:
    span = _SPAN.fullmatch(text)
    if span is not None:
        return datetime.now(UTC) + int(span[1]) * _UNITS[span[2]]
    day = datetime.fromisoformat(text)
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).astimezone(UTC)


Command = Callable[..., None]


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Decorate a command with options, shown in this order."""
    return lambda command: reduce(lambda wrapped, option: option(wrapped), options[::-1], command)


_with_rights = _with(
    click.option(
        "--role",
        type=click.Choice(ROLES),
        required=True,
        help="read; write: change records and collections, too; admin: databases, too.",
    ),
    click.option("--tenant", help="Confine to this tenant."),
    click.option("--database", help="Confine to this database of the tenant."),
    click.option("--collection", help="Confine to this collection of the database."),
    click.option(
        "--expires", type=moment, help="When it ends: 12h, 30d or 4w from now, or 2027-01-01."
    ),
)


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that programs use."""


@click.group()
def users() -> None:
    """Make, list and revoke users, who have a name and a password."""


@keys.command("create")
@click.argument("name")
@_with_rights
@on_database()
def create_key(
    name: str,
    role: Role,
    tenant: str | None,
    database: str | None,
    collection: str | None,
    expires: datetime | None,
    target: Database,
) -> None:
    """Make a key called NAME and print it: this once, for only its hash is kept."""
    scope = _scope(tenant, database, collection)
    with exit_on_error():
        key, operation = new_key(name, role, scope, expires)
    made = _create(operation, target)
    click.echo(f"{_told(made)}. Keep the key, it is not shown again:", err=True)
    click.echo(key.text)


@keys.command("generate")
def generate_key() -> None:
    """Print a new key that no database knows yet, for a server's PGCHROMA_ADMIN_KEY."""
    click.echo(Key.generate().text)


@users.command("create")
@click.argument("name")
@_with_rights
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@on_database()
def create_user(
    name: str,
    role: Role,
    tenant: str | None,
    database: str | None,
    collection: str | None,
    expires: datetime | None,
    password_stdin: bool,
    target: Database,
) -> None:
    """Make a user called NAME; asks for the password."""
    scope = _scope(tenant, database, collection)
    with exit_on_error():
        operation = new_user(name, _password(password_stdin), role, scope, expires)
    click.echo(_told(_create(operation, target)), err=True)


def _list_command(kind: Kind) -> click.Command:
    @click.command("list", help=f"List the {kind}s.")
    @click.option("--all", "with_revoked", is_flag=True, help="Those that are revoked, too.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @on_database()
    def run(with_revoked: bool, as_json: bool, target: Database) -> None:
        with target.backend() as backend:
            found = backend.execute(ListCredentials(kind, with_revoked))
        if as_json:
            print_json([_plain(credential) for credential in found])
        else:
            _print_table(found)

    return run


def _revoke_command(kind: Kind) -> click.Command:
    @click.command("revoke", help=f"End a {kind}, given by its name or its id, for good.")
    @click.argument("name_or_id")
    @on_database()
    def run(name_or_id: str, target: Database) -> None:
        with target.backend() as backend:
            ended = backend.execute(RevokeCredential(kind, name_or_id))
        click.echo(f"{kind} {ended.name} ({ended.id}) is revoked; servers notice within seconds")

    return run


keys.add_command(_list_command("key"))
keys.add_command(_revoke_command("key"))
users.add_command(_list_command("user"))
users.add_command(_revoke_command("user"))


def _create(operation: CreateCredential, target: Database) -> Credential:
    with target.backend() as backend:
        return backend.execute(operation)


def _scope(tenant: str | None, database: str | None, collection: str | None) -> Scope:
    if database is not None and tenant is None:
        raise click.UsageError("--database needs --tenant: which tenant's is it?")
    if collection is not None and database is None:
        raise click.UsageError("--collection needs --database: in which one is it?")
    return Scope(tenant, database, collection)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        given = sys.stdin.read(MAX_PASSWORD_CHARACTERS + len("\r\n") + 1)
        return given.removesuffix("\n").removesuffix("\r")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _told(credential: Credential) -> str:
    rights = f"role {credential.role} on {_place(credential.scope)}"
    until = "" if credential.expires_at is None else f", until {_time(credential.expires_at)}"
    return f"{credential.kind} {credential.name} ({credential.id}): {rights}{until}"


def _place(scope: Scope) -> str:
    return str(Target(scope.tenant, scope.database, scope.collection_id, scope.collection))


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _state(credential: Credential) -> str:
    if credential.revoked_at is not None:
        return "revoked"
    return "live" if credential.is_live else "expired"


def _plain(credential: Credential) -> dict[str, str | None]:
    scope = credential.scope
    times = (credential.created_at, credential.expires_at, credential.revoked_at)
    created, expires, revoked = (
        None if t is None else t.astimezone(UTC).isoformat() for t in times
    )
    return {
        "id": credential.id,
        "name": credential.name,
        "role": credential.role,
        "tenant": scope.tenant,
        "database": scope.database,
        "collection": scope.collection,
        "state": _state(credential),
        "created_at": created,
        "expires_at": expires,
        "revoked_at": revoked,
    }


def _print_table(credentials: list[Credential]) -> None:
    # Half of a command's start would be rich's.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("name", "id", "role", "for", "expires", "state", box=None, pad_edge=False)
    for credential in credentials:
        expires = "" if credential.expires_at is None else _time(credential.expires_at)
        cells = (credential.name, credential.id, credential.role, _place(credential.scope))
        table.add_row(*(printable(cell) for cell in (*cells, expires, _state(credential))))
    Console(markup=False, highlight=False, emoji=False).print(table)
