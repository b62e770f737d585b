"""The database or the server that a command works on, and the ways to reach it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.connect import connect
from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.refusal import is_refused_for_good
from pgchroma.backends.urls import address_of
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.servers import API_KEY, is_server_url, server_address, server_backend
from pgchroma.config import Settings
from pgchroma.embedded.platforms import check_embedded
from pgchroma.errors import ChromaAuthError, InvalidArgumentError, UnavailableError
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.store.running.errors import mapped_errors, reason_of

if TYPE_CHECKING:
    from pgchroma.client._sync.client import Client
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("TargetDatabase",)


@dataclass(frozen=True, slots=True)
class TargetDatabase:
    """The database of a command: a URL, or the directory of an embedded PostgreSQL.

    Attributes:
        url: The URL of a database, or of a server that speaks Chroma's API.
        source: The flag, variable or profile that names it, for messages.
        secret: The password of the database, or the API key of the server, if a profile has one.
        is_stored: Whether a profile names it.
    """

    url: str | None = field(default=None, repr=False)
    path: Path | None = None
    source: str = "--url"
    secret: str | None = field(default=None, repr=False)
    is_stored: bool = False

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
            conninfo = self._with_password(complete_conninfo(self.url or ""))
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
            backend = server_backend(self.url or "", _settings(), self.secret)
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
            advice = f"set {API_KEY}" if self.secret is None else "run `pgchroma login` again"
            raise CommandError(
                f"{self.source}: {server_address(self.url or '')} refuses the login: "
                f"{error.message()}; {advice}",
                2,
            ) from error

    def address(self) -> str:
        """Return the directory, or the database or the server without its password."""
        if self.path is not None:
            return str(self.path)
        with self._named():
            url = self.url or ""
            return server_address(url) if self.is_server else address_of(complete_conninfo(url))

    def _with_password(self, conninfo: str) -> str:
        if self.secret is None or conninfo_to_dict(conninfo).get("password"):
            return conninfo
        return make_conninfo(conninfo, password=self.secret)

    def _refuse_server(self) -> None:
        if self.is_server:
            scheme = (self.url or "").strip().partition("://")[0].lower()
            raise CommandError(
                f"{self.source}: {scheme}:// begins the URL of a server, and this command needs a "
                "database: give its URL, postgresql://…, or its directory with --path",
                2,
            )


def _settings() -> Settings:
    # Other programs may use this database, so a command does not upgrade it implicitly.
    return Settings(migrations="validate", pgchroma_compaction=False)
