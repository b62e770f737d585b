"""Which database a command works on: ``--url``, ``--path``, ``--profile``, variables, and login.

A flag takes precedence over every variable, and the flags exclude each other. ``PGCHROMA_URL`` and
``PGCHROMA_URL_FILE`` take precedence over ``PGCHROMA_PROFILE``, and this over ``PGCHROMA_PATH``,
which a container image may set. Without any of them, the profile that the user chose applies. A URL
is a database's, or a server's: ``http://…`` or ``https://…``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from pgchroma.cli.errors import CommandError
from pgchroma.cli.hints import refuse_url
from pgchroma.cli.profiles import Profiles, read_profiles
from pgchroma.cli.secret_variables import secret_variable
from pgchroma.cli.target import TargetDatabase
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.variables import check_variables, environment

__all__ = (
    "MISSING",
    "PROFILE",
    "TargetDatabase",
    "directory",
    "on_database",
    "place_options",
    "target_of",
)

F = TypeVar("F", bound=Callable[..., Any])

URL = "PGCHROMA_URL"
PROFILE = "PGCHROMA_PROFILE"
PATHS = ("PGCHROMA_PATH", "PGCHROMA_PERSIST_PATH")


MISSING = (
    f"no database given: use --url or --path, or set {URL}, {URL}_FILE or {PATHS[0]}, or store one "
    "with `pgchroma login`"
)
"""The message if no database is given."""


def directory(value: str | Path) -> Path:
    """Return the path of a directory; the type of an option.

    The message does not show a value that looks like the URL of a database or a server, because it
    may contain a password.

    Raises:
        click.BadParameter: The value is such a URL, or a file.
    """
    from pgchroma.embedded.directory import resolved  # noqa: PLC0415  (only where it is used)

    try:
        path = resolved(value)
    except InvalidArgumentError as error:
        raise click.BadParameter(error.message()) from error
    if path.exists() and not path.is_dir():
        raise click.BadParameter(f"{str(path)!r} is a file, not a directory")
    return path


def on_database(*, is_required: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds ``--url``, ``--path`` and ``--profile``.

    The database is passed as `target`.

    Args:
        is_required: Whether a database has to be given; otherwise `target` can be `None`.
    """
    profile = click.option(
        "--profile", metavar="NAME", help="A stored database or server; see `pgchroma login`."
    )

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            url, path, name = (given.pop(key) for key in ("url", "path", "profile"))
            refuse_url(given[each] for each in _arguments() if each in given)
            target = _find(url, path, name)
            if target is None and is_required:
                raise click.UsageError(MISSING)
            return command(*args, target=target, **given)

        return place_options(profile(wrapped))  # type: ignore[no-any-return]

    return decorate


def place_options(command: Any) -> Any:
    """Add ``--url`` and ``--path`` to a command."""
    options = [
        click.option(
            "--url",
            help="URL of the database, postgresql://…, or of a server, http://…. "
            f"Prefer {URL}: other users can see arguments.",
        ),
        click.option(
            "--path",
            type=directory,
            help="Directory of an embedded PostgreSQL, instead of --url.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def target_of(url: str | None, path: Path | None, profile: str | None = None) -> TargetDatabase:
    """Return the database that the flags name, or else the variables or the chosen profile.

    Raises:
        click.UsageError: There is none, or there are several.
    """
    target = _find(url, path, profile)
    if target is None:
        raise click.UsageError(MISSING)
    return target


def _find(url: str | None, path: Path | None, profile: str | None) -> TargetDatabase | None:
    given = {"--url": url, "--path": path, "--profile": profile}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} exclude each other; give one of them")
    variables = environment()
    try:
        check_variables(variables, Settings.model_fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if profile is not None:
        return _stored(profile, "--profile")
    return TargetDatabase(url, path, names[0]) if names else _from_variables(variables)


def _arguments() -> list[str]:
    """Return the names of the positional arguments of the command that runs."""
    parameters = click.get_current_context().command.params
    return [str(each.name) for each in parameters if isinstance(each, click.Argument)]


def _from_variables(variables: dict[str, str]) -> TargetDatabase | None:
    url, source = secret_variable(URL)
    if url is not None:
        return TargetDatabase(url, source=source)
    if PROFILE in variables:
        return _stored(variables[PROFILE], PROFILE)
    name = next((name for name in PATHS if name in variables), None)
    if name is None:
        return _chosen()
    try:
        return TargetDatabase(path=directory(variables[name]), source=name)
    except click.BadParameter as error:
        raise CommandError(f"{name}: {error.message}", 2) from error


def _chosen() -> TargetDatabase | None:
    profiles = read_profiles()
    if profiles.current is None:
        return None
    return _stored(profiles.current, "profile in use", profiles)


def _stored(name: str, source: str, profiles: Profiles | None = None) -> TargetDatabase:
    try:
        profile = (profiles or read_profiles()).profile(name)
    except InvalidArgumentError as error:
        raise CommandError(f"{source}: {error.message()}", 2) from error
    path = None if profile.path is None else Path(profile.path)
    return TargetDatabase(profile.url, path, f"{source} {name}", profile.secret, is_stored=True)
