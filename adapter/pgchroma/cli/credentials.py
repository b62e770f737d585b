"""``pgchroma keys`` and ``pgchroma users``: the credentials of a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.groups import Subcommands
from pgchroma.cli.printing import json_option, print_json, print_table, time_text
from pgchroma.cli.standard_input import read_secret
from pgchroma.model.credentials import ROLES, Credential, CredentialKind, Role, Scope, Target
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


def expiry(text: str) -> datetime:
    """Return a time in the future, given as a duration or a date; the type of an option.

    Raises:
        click.BadParameter: It is neither, or is in the past.
    """
    try:
        found = _parse_time(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"expected a duration such as 12h, 30d or 4w, or a date like 2027-01-01, got {text!r}"
        ) from error
    if found <= datetime.now(UTC):
        raise click.BadParameter(f"{text} is in the past")
    return found


def _parse_time(text: str) -> datetime:
    span = _SPAN.fullmatch(text)
    if span is not None:
        return datetime.now(UTC) + int(span[1]) * _UNITS[span[2]]
    day = datetime.fromisoformat(text)
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).astimezone(UTC)


Command = Callable[..., None]


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds options to a command, in this order."""
    return lambda command: reduce(lambda wrapped, option: option(wrapped), options[::-1], command)


_rights_options = _options(
    click.option(
        "--role",
        type=click.Choice(ROLES),
        required=True,
        help="read; write: also change records and collections; admin: also manage databases.",
    ),
    click.option("--tenant", help="Restrict to this tenant."),
    click.option("--database", help="Restrict to this database of the tenant."),
    click.option("--collection", help="Restrict to this collection of the database."),
    click.option(
        "--expires",
        type=expiry,
        metavar="TIME",
        help="Expiry: 12h, 30d or 4w from now, or a date such as 2027-01-01.",
    ),
)


@click.group(cls=Subcommands)
def keys() -> None:
    """Create, list and revoke API keys."""


@click.group(cls=Subcommands)
def users() -> None:
    """Create, list and revoke users with a name and a password."""


@keys.command("create")
@click.argument("name")
@_rights_options
@json_option
@on_database()
def create_key(
    name: str,
    role: Role,
    tenant: str | None,
    database: str | None,
    collection: str | None,
    expires: datetime | None,
    as_json: bool,
    target: TargetDatabase,
) -> None:
    """Create an API key called NAME and print it.

    It is shown only once; the server stores a hash.
    """
    scope = _scope(tenant, database, collection)
    with exit_on_error():
        key, operation = new_key(name, role, scope, expires)
    created = _create(operation, target)
    if as_json:
        print_json({**_as_json(created), "key": key.text})
        return
    click.echo(f"{_summary(created)}. Save the key, it is shown only once:", err=True)
    click.echo(key.text)


@keys.command("generate")
@json_option
def generate_key(as_json: bool) -> None:
    """Print a new random key, for a server's PGCHROMA_ADMIN_KEY."""
    key = Key.generate().text
    if as_json:
        print_json({"key": key})
    else:
        click.echo(key)


@users.command("create")
@click.argument("name")
@_rights_options
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
@on_database()
def create_user(
    name: str,
    role: Role,
    tenant: str | None,
    database: str | None,
    collection: str | None,
    expires: datetime | None,
    password_stdin: bool,
    as_json: bool,
    target: TargetDatabase,
) -> None:
    """Create a user called NAME; asks for the password."""
    scope = _scope(tenant, database, collection)
    with exit_on_error():
        operation = new_user(name, _password(password_stdin), role, scope, expires)
    created = _create(operation, target)
    if as_json:
        print_json(_as_json(created))
    else:
        click.echo(_summary(created), err=True)


def _list_command(kind: CredentialKind) -> click.Command:
    @click.command("list", help=f"List the {kind}s.")
    @click.option("--all", "with_revoked", is_flag=True, help="Also list revoked ones.")
    @json_option
    @on_database()
    def run(with_revoked: bool, as_json: bool, target: TargetDatabase) -> None:
        with target.database_backend() as backend:
            found = backend.execute(ListCredentials(kind, with_revoked))
        if as_json:
            print_json([_as_json(credential) for credential in found])
        else:
            _print_table(found)

    return run


def _revoke_command(kind: CredentialKind) -> click.Command:
    @click.command("revoke", help=f"Revoke a {kind} by its name or id. This cannot be undone.")
    @click.argument("name_or_id")
    @json_option
    @on_database()
    def run(name_or_id: str, as_json: bool, target: TargetDatabase) -> None:
        with target.database_backend() as backend:
            ended = backend.execute(RevokeCredential(kind, name_or_id))
        if as_json:
            print_json(_as_json(ended))
        else:
            click.echo(f"revoked {kind} {ended.name} ({ended.id}); servers apply it within seconds")

    return run


keys.add_command(_list_command("key"))
keys.add_command(_revoke_command("key"))
users.add_command(_list_command("user"))
users.add_command(_revoke_command("user"))


def _create(operation: CreateCredential, target: TargetDatabase) -> Credential:
    with target.database_backend() as backend:
        return backend.execute(operation)


def _scope(tenant: str | None, database: str | None, collection: str | None) -> Scope:
    if database is not None and tenant is None:
        raise click.UsageError("--database needs --tenant")
    if collection is not None and database is None:
        raise click.UsageError("--collection needs --database")
    return Scope(tenant, database, collection)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return read_secret("--password-stdin", MAX_PASSWORD_CHARACTERS)
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _summary(credential: Credential) -> str:
    rights = f"role {credential.role} on {_target(credential.scope)}"
    until = "" if credential.expires_at is None else f", until {time_text(credential.expires_at)}"
    return f"created {credential.kind} {credential.name} ({credential.id}): {rights}{until}"


def _target(scope: Scope) -> str:
    return str(Target(scope.tenant, scope.database, scope.collection_id, scope.collection))


def _state(credential: Credential) -> str:
    if credential.revoked_at is not None:
        return "revoked"
    return "live" if credential.is_live else "expired"


def _as_json(credential: Credential) -> dict[str, str | None]:
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
    print_table(("name", "id", "role", "for", "expires", "state"), map(_cells, credentials))


def _cells(credential: Credential) -> tuple[str, ...]:
    expires = "" if credential.expires_at is None else time_text(credential.expires_at)
    names = (credential.name, credential.id, credential.role, _target(credential.scope))
    return (*names, expires, _state(credential))
