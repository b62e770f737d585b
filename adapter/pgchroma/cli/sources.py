"""The source of an import, an export or a copy: a URL or a path.

The API key of a source that is a server comes from ``PGCHROMA_FROM_API_KEY``, or from the file that
``PGCHROMA_FROM_API_KEY_FILE`` names. ``PGCHROMA_API_KEY`` belongs to the target, and is not sent to
a source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import click

from pgchroma.cli.errors import CommandError
from pgchroma.cli.secret_variables import secret_variable
from pgchroma.cli.servers import is_server_url, server_address, server_backend
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.hnsw import SPACES
from pgchroma.transfer.readers.columns import ROLES, Role
from pgchroma.variables import environment

if TYPE_CHECKING:
    from pgchroma.backends._sync.http import HttpBackend
    from pgchroma.transfer.opening import SourceOptions
    from pgchroma.transfer.source import Source

__all__ = ("PLACE", "Place", "open_source", "source_options", "with_source_options")

F = TypeVar("F", bound=Callable[..., Any])

FROM_API_KEY: Final = "PGCHROMA_FROM_API_KEY"

CLOUD_HOST: Final = "api.trychroma.com"
CLOUD_KEY: Final = "CHROMA_API_KEY"

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DATABASE: Final = re.compile(
    r"postgres(ql)?(\+\w+)?://|(\w+\s*=\s*\S*\s+)*(host|hostaddr|dbname|service|password)\s*=",
    re.IGNORECASE,
)
"""The beginning of the URL of a database, or a connection string."""

_CHOSEN: Final = re.compile(rf"({'|'.join(ROLES)})=(.+)", re.DOTALL)

READ: Final = ("pgchroma", "tables")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL or a path that a user named. It is not shown, because a URL may have a password."""

    text: str = field(repr=False)

    @property
    def is_url(self) -> bool:
        """Whether it is a URL or a connection string."""
        return self.is_database or _URL.match(self.text) is not None

    @property
    def is_database(self) -> bool:
        """Whether it is a PostgreSQL database."""
        return _DATABASE.match(self.text) is not None


# Only newer versions of click declare the type of what it converts to.
class _PlaceType(click.ParamType):  # type: ignore[type-arg]
    """The type of a place."""

    name = "url or path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        if isinstance(value, Place):
            return value
        if not str(value).strip():
            self.fail("it is empty", param, ctx)
        return Place(str(value).strip())


PLACE: Final = _PlaceType()


def with_source_options() -> Callable[[F], F]:
    """Return a decorator that adds the options of sources; they are passed as `from_options`."""
    options = [
        click.option("--tenant", help="Read this tenant only."),
        click.option("--database", help="Read this database only; of the default tenant, if none."),
        click.option(
            "--table", "tables", multiple=True, help="Read this table of PostgreSQL; repeatable."
        ),
        click.option(
            "--read",
            "kind",
            type=click.Choice(READ),
            help="What to read in a PostgreSQL database that has both.",
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="ROLE=NAME",
            help=f"The column for a part of a record: {', '.join(ROLES)}; repeatable.",
        ),
        click.option(
            "--space", type=click.Choice(SPACES), help="The distance of tables without an index."
        ),
        click.option(
            "--allow-in-use",
            is_flag=True,
            help="Read a directory of Chroma that a program has open.",
        ),
    ]

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            names = ("tenant", "database", "tables", "kind", "columns", "space", "allow_in_use")
            chosen = {name: given.pop(name) for name in names}
            return command(*args, from_options=source_options(**chosen), **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def source_options(
    tenant: str | None,
    database: str | None,
    tables: Sequence[str] = (),
    columns: Sequence[str] = (),
    kind: Any = None,
    space: Any = None,
    allow_in_use: bool = False,
) -> SourceOptions:
    """Return the options of a source from those of a command."""
    from pgchroma.transfer.opening import SourceOptions  # noqa: PLC0415  (most commands have none)
    from pgchroma.transfer.readers.backend import Selection  # noqa: PLC0415

    return SourceOptions(
        Selection(tenant, database),
        dict(map(_chosen_column, columns)),
        tuple(tables),
        kind,
        space,
        allow_in_use,
    )


def open_source(place: Place, options: SourceOptions, settings: Settings | None = None) -> Source:
    """Return the source at a place, which is not open yet.

    Args:
        place: The URL or path.
        options: What to read of it.
        settings: How to connect to a database; `None` means without changing it.

    Raises:
        InvalidArgumentError: There is nothing that can be read.
    """
    from pgchroma.transfer.opening import (  # noqa: PLC0415  (most commands have none)
        open_database,
        open_path,
        open_server,
    )

    settings = settings or Settings(migrations="validate", pgchroma_compaction=False)
    if is_server_url(place.text):
        return open_server(_server(place.text, settings), options)
    if place.is_database:
        return open_database(place.text, options, settings)
    if place.is_url:
        raise InvalidArgumentError(
            "a source is a path, or the URL of a server or of PostgreSQL: http://…, https://… or "
            "postgresql://…"
        )
    return open_path(Path(place.text).expanduser(), options, settings)


def _server(url: str, settings: Settings) -> HttpBackend:
    server_address(url)  # raises if it is not the URL of a server
    key, _ = secret_variable(FROM_API_KEY)
    if key is None and urlsplit(url).hostname == CLOUD_HOST:
        key = environment().get(CLOUD_KEY) or None
    if key is not None:
        return server_backend(url, settings, key)
    from pgchroma.client._sync.backends import http_backend  # noqa: PLC0415  (only for servers)

    try:
        return http_backend(settings.model_copy(update={"chroma_server_host": url}))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _chosen_column(text: str) -> tuple[Role, str]:
    found = _CHOSEN.fullmatch(text)
    if found is None:
        raise CommandError(
            f"--column: expected ROLE=NAME with one of {', '.join(ROLES)}, got {text!r:.80}", 2
        )
    return cast("Role", found[1]), found[2]
