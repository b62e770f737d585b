"""``pgchroma login`` and ``pgchroma profile``: databases and servers under names of the user's."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgchroma.backends.conninfo import plain_conninfo
from pgchroma.cli.confirmation import confirm, yes_option
from pgchroma.cli.database import place_options, target_of
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.groups import Subcommands
from pgchroma.cli.hints import refuse_url
from pgchroma.cli.printing import is_terminal, json_option, print_json, print_table
from pgchroma.cli.profiles import (
    Profile,
    Profiles,
    changed_profiles,
    check_profile_name,
    read_profiles,
)
from pgchroma.cli.secret_variables import secret_variable
from pgchroma.cli.servers import API_KEY, is_server_url
from pgchroma.cli.standard_input import read_secret
from pgchroma.cli.target import TargetDatabase
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.operations import GetIdentity, GetVersion

__all__ = ("login", "profile")

MAX_SECRET_CHARACTERS = 4096


@click.command(short_help="Store a database or a server under a name.")
@click.argument("name", default="default")
@place_options
@click.option(
    "--token-stdin",
    is_flag=True,
    help="Read the API key of a server, or the password of a database, from standard input.",
)
@click.option("--use", "is_used", is_flag=True, help="Use the profile from now on.")
@yes_option()
@json_option
def login(
    name: str,
    url: str | None,
    path: Path | None,
    token_stdin: bool,
    is_used: bool,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Check the connection to a database or a server, and store it as the profile NAME.

    Commands use the chosen profile if neither a flag nor a variable names a database. The first
    profile is chosen at once, a later one with --use or with `pgchroma profile use`.

    The API key of a server is taken from PGCHROMA_API_KEY without --token-stdin. The profiles are
    in a file that only you can read. A profile of another database is replaced only after a
    question.
    """
    refuse_url([name])
    with exit_on_error():
        check_profile_name(name)
    target = _target(url, path)
    _confirm_replacing(name, target, is_sure)
    secret = _secret(target) if token_stdin else _key(target)
    target = TargetDatabase(target.url, target.path, target.source, secret)
    said = _check(target)
    with changed_profiles() as stored:
        stored.profiles[name] = _profile(target)
        if is_used or stored.current is None:
            stored.current = name
        is_current = stored.current == name
    if as_json:
        print_json({"name": name, "address": target.address(), "is_current": is_current})
        return
    click.echo(f"stored profile {name}: {target.address()} ({said})")
    if not is_current:
        click.echo(f"in use is {stored.current}; `pgchroma profile use {name}` changes that")


def _target(url: str | None, path: Path | None) -> TargetDatabase:
    target = target_of(url, path)
    if target.is_stored:
        raise click.UsageError("give what to store with --url or --path")
    return target


def _confirm_replacing(name: str, target: TargetDatabase, is_sure: bool) -> None:
    """Ask before a profile of another database is lost, with its password or key."""
    stored = read_profiles()
    old = stored.profiles.get(name)
    new = _profile(target)
    if old is not None and (old.url, old.path) != (new.url, new.path):
        confirm(is_sure, f"Replace profile {name}, which is {_shown(stored, name)['address']}?")


def _secret(target: TargetDatabase) -> str:
    if target.path is not None:
        raise click.UsageError("--token-stdin: a directory has no password")
    secret = read_secret("--token-stdin", MAX_SECRET_CHARACTERS)
    if not secret or len(secret) > MAX_SECRET_CHARACTERS or not secret.isprintable():
        raise click.UsageError(
            "--token-stdin: expected one line on standard input with the key or the password"
        )
    if _has_login(target.url):
        raise click.UsageError("--token-stdin: the URL already contains a password")
    return secret


def _has_login(url: str | None) -> bool:
    """Whether a URL contains a login or a password; false for one that is malformed."""
    if url is None:
        return False
    if is_server_url(url):
        return "@" in url
    with suppress(InvalidArgumentError, psycopg.ProgrammingError):
        return bool(conninfo_to_dict(plain_conninfo(url)).get("password"))
    return False


def _key(target: TargetDatabase) -> str | None:
    if not target.is_server or _has_login(target.url):
        return None
    key = secret_variable(API_KEY)[0]
    if key is None and is_terminal(sys.stdin):
        text = "API key (empty if the server needs none)"
        key = str(click.prompt(text, default="", show_default=False, hide_input=True, err=True))
    return key or None


def _check(target: TargetDatabase) -> str:
    """Connect, and say what answers."""
    if target.is_server:
        with target.backend() as backend:
            version = backend.execute(GetVersion())
            identity = backend.execute(GetIdentity())
        user = f", as {identity.user_id}" if identity.user_id else ""
        return f"a server of version {version}{user}"
    with target.connection() as connection:
        number = connection.info.server_version
    return f"PostgreSQL {number // 10_000}"


def _profile(target: TargetDatabase) -> Profile:
    path = None if target.path is None else str(target.path)
    return Profile(target.url, path, target.secret)


@click.group(
    cls=Subcommands, short_help="List, show, choose and delete stored databases and servers."
)
def profile() -> None:
    """List, show, choose and delete the profiles that `pgchroma login` stores."""


@profile.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the profiles; an asterisk marks the one in use."""
    stored = read_profiles()
    found = [_shown(stored, name) for name in sorted(stored.profiles)]
    if as_json:
        print_json(found)
    else:
        rows = [
            ("*" if each["is_current"] else "", each["name"], each["address"]) for each in found
        ]
        print_table(("", "name", "address"), rows)


@profile.command("show")
@click.argument("name", required=False)
@json_option
def show_profile(name: str | None, as_json: bool) -> None:
    """Show a profile, by default the one in use, without its password or key."""
    stored = read_profiles()
    name = name or stored.current
    if name is None:
        raise click.UsageError("no profile is in use; choose one with `pgchroma profile use`")
    with exit_on_error():
        stored.profile(name)
    shown = _shown(stored, name)
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        click.echo(f"{key.replace('_', ' ')}: {_word(value)}")


@profile.command("use")
@click.argument("name")
@json_option
def use_profile(name: str, as_json: bool) -> None:
    """Use the profile NAME where neither a flag nor a variable names a database."""
    with changed_profiles() as stored:
        with exit_on_error():
            stored.profile(name)
        stored.current = name
    shown = _shown(stored, name)
    if as_json:
        print_json(shown)
    else:
        click.echo(f"the profile in use is {name}: {shown['address']}")


@profile.command("delete")
@click.argument("name")
@yes_option()
@json_option
def delete_profile(name: str, is_sure: bool, as_json: bool) -> None:
    """Delete the profile NAME with its password or key. The database stays as it is."""
    with exit_on_error():
        read_profiles().profile(name)
    confirm(is_sure, f"Delete profile {name}?")
    with changed_profiles() as stored:
        stored.profiles.pop(name, None)
        if stored.current == name:
            stored.current = None
    if as_json:
        print_json({"name": name})
    else:
        click.echo(f"deleted profile {name}")


def _shown(stored: Profiles, name: str) -> dict[str, Any]:
    profile = stored.profiles[name]
    path = None if profile.path is None else Path(profile.path)
    target = TargetDatabase(profile.url, path, f"profile {name}")
    try:
        address = target.address()
    except (CommandError, InvalidArgumentError):
        address = "not a valid URL"
    return {
        "name": name,
        "address": address,
        "kind": "directory" if path else "server" if target.is_server else "database",
        "has_secret": profile.secret is not None or _has_login(profile.url),
        "is_current": stored.current == name,
    }


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
