"""The database that a command works on: ``--url``, ``--path``, and the variables for both.

A flag takes precedence over every variable; the two flags exclude each other. ``PGCHROMA_URL`` and
``PGCHROMA_URL_FILE`` take precedence over ``PGCHROMA_PATH``, which a container image may set. A URL
is a database's, or a server's: ``http://…`` or ``https://…``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import psycopg

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.connect import connect
from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.refusal import is_refused_for_good
from pgchroma.backends.urls import address_of
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.hints import refuse_url
from pgchroma.cli.secret_variables import secret_variable
from pgchroma.cli.servers import API_KEY, is_server_url, server_address, server_backend
from pgchroma.config import Settings
from pgchroma.embedded.platforms import check_embedded
from pgchroma.errors import ChromaAuthError, InvalidArgumentError, UnavailableError
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.store.running.errors import mapped_errors, reason_of
from pgchroma.variables import check_variables, environment

if TYPE_CHECKING:
    from pgchroma.client._sync.client import Client
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("TargetDatabase", "directory", "on_database")

F = TypeVar("F", bound=Callable[..., Any])

URL = "PGCHROMA_URL"
PATHS = ("PGCHROMA_PATH", "PGCHROMA_PERSIST_PATH")


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


@dataclass(frozen=True, slots=True)
class TargetDatabase:
    """The database of a command: a URL, or the directory of an embedded PostgreSQL.

    Attributes:
        url: The URL of a database, or of a server that speaks Chroma's API.
        source: The flag or variable that names it, for messages.
    """

    url: str | None = field(default=None, repr=False)
    path: Path | None = None
    source: str = "--url"

    @property
    def is_server(self) -> bool:
        """Whether it is reached through a server, over HTTP, and not by SQL."""
        return is_server_url(self.url)

    @contextmanager
    def conninfo(self) -> Generator[str, None, None]:
        """Yield a connection string for libpq; an embedded PostgreSQL runs for that long.

        Raises:
            CommandError: The directory has no database, which only `pgchroma run` creates; or
                PostgreSQL rejected the login; or the URL is that of a server.
        """
        if self.path is not None:
            with self.embedded() as postgres:
                yield postgres.conninfo
            return
        self._refuse_server()
        with self._named():
            conninfo = complete_conninfo(self.url or "")
        try:
            with mapped_errors(address_of(conninfo)):
                yield conninfo
        except UnavailableError as error:
            if not is_refused_for_good(conninfo):
                raise
            raise CommandError(
                f"{self.source}: {address_of(conninfo)} cannot be used: {reason_of(error)}", 2
            ) from error

    @contextmanager
    def embedded(self) -> Generator[EmbeddedPostgres, None, None]:
        """Yield the PostgreSQL of the directory, which runs inside the context.

        Raises:
            CommandError: The directory has no database, which only `pgchroma run` creates.
            MissingExtraError: The embedded PostgreSQL is not installed.
        """
        check_embedded(self.source)
        from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (an extra)

        with self._named():
            postgres = EmbeddedPostgres.open(self.path or "", create=False)
        with postgres:
            yield postgres

    @contextmanager
    def _named(self) -> Generator[None, None, None]:
        """Name the flag or variable in the message about its value."""
        try:
            yield
        except InvalidArgumentError as error:
            raise CommandError(f"{self.source}: {error.message()}", 2) from error

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Yield a connection to the database, and exit with a message if it fails."""
        with (
            exit_on_error(),
            mapped_errors(),
            self.conninfo() as conninfo,
            psycopg.connect(conninfo, autocommit=True) as connection,
        ):
            yield connection

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        """Yield a backend for the database, whose catalog must be up to date, or on the server.

        A server has no routes for keys, users and the list of tenants; see `database_backend`.
        """
        if not self.is_server:
            with self.database_backend() as direct:
                yield direct
            return
        with exit_on_error(), self._named():
            backend = server_backend(self.url or "", _settings())
        try:
            with exit_on_error(), self._login_checked():
                yield backend
        finally:
            backend.close()

    @contextmanager
    def database_backend(self) -> Generator[Backend, None, None]:
        """Yield a backend for the database, for operations that no server offers.

        Raises:
            CommandError: The URL is that of a server.
        """
        with exit_on_error(), self.conninfo() as conninfo:
            backend = connect(conninfo, _settings())
            try:
                yield backend
            finally:
                backend.close()

    @contextmanager
    def client(
        self, tenant: str = DEFAULT_TENANT, database: str = DEFAULT_DATABASE
    ) -> Generator[Client, None, None]:
        """Yield a client of one of Chroma's databases, directly or over HTTP."""
        from pgchroma.client._sync.opening import open_client  # noqa: PLC0415  (most do without)

        with self.backend() as backend:
            yield open_client(backend, _settings(), None, tenant, database)

    @contextmanager
    def _login_checked(self) -> Generator[None, None, None]:
        try:
            yield
        except ChromaAuthError as error:
            raise CommandError(
                f"{self.source}: {server_address(self.url or '')} refuses the login: "
                f"{error.message()}; set {API_KEY}",
                2,
            ) from error

    def _refuse_server(self) -> None:
        if self.is_server:
            scheme = (self.url or "").strip().partition("://")[0].lower()
            raise CommandError(
                f"{self.source}: {scheme}:// begins the URL of a server, and this command needs a "
                "database: give its URL, postgresql://…, or its directory with --path",
                2,
            )


def on_database() -> Callable[[F], F]:
    """Return a decorator that adds ``--url`` and ``--path``; the database is passed as `target`."""
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

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            url, path = given.pop("url"), given.pop("path")
            refuse_url(given[each] for each in _arguments() if each in given)
            return command(*args, target=_find_database(url, path), **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def _settings() -> Settings:
    # Other programs may use this database, so a command does not upgrade it implicitly.
    return Settings(migrations="validate", pgchroma_compaction=False)


def _arguments() -> list[str]:
    """Return the names of the positional arguments of the command that runs."""
    parameters = click.get_current_context().command.params
    return [str(each.name) for each in parameters if isinstance(each, click.Argument)]


def _find_database(url: str | None, path: Path | None) -> TargetDatabase:
    given = {"--url": url, "--path": path}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} exclude each other; give one of them")
    variables = environment()
    try:
        check_variables(variables, Settings.model_fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return TargetDatabase(url, path, names[0]) if names else _from_variables(variables)


def _from_variables(variables: dict[str, str]) -> TargetDatabase:
    url, source = secret_variable(URL)
    if url is not None:
        return TargetDatabase(url, source=source)
    name = next((name for name in PATHS if name in variables), None)
    if name is None:
        raise click.UsageError(
            f"no database given: use --url or --path, or set {URL}, {URL}_FILE or {PATHS[0]}"
        )
    try:
        return TargetDatabase(path=directory(variables[name]), source=name)
    except click.BadParameter as error:
        raise CommandError(f"{name}: {error.message}", 2) from error
