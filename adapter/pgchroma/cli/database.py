"""The database that a command works on: ``--url``, ``--path``, and the variables for both.

A value on the command line wins over every variable. Two on the command line exclude each other.
Of the variables, ``PGCHROMA_URL`` and ``PGCHROMA_URL_FILE`` win over ``PGCHROMA_PATH``, for which
an image may have a default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from pgchroma.backends.base import Backend
from pgchroma.backends.connect import connect, plain_conninfo
from pgchroma.cli.errors import exit_on_error
from pgchroma.config import Settings

__all__ = ("Database", "Directory", "on_database")

F = TypeVar("F", bound=Callable[..., Any])

URL, URL_FILE = "PGCHROMA_URL", "PGCHROMA_URL_FILE"
PATHS = ("PGCHROMA_PATH", "PGCHROMA_PERSIST_PATH")

_ADDRESS = re.compile(r"[\w.+-]+://.*|[\w.-]+:[0-9]+|(.*\s)?(host|dbname|service)\s*=.*", re.DOTALL)


class Directory(click.ParamType[Path]):
    """A directory; what looks like the address of a database or of a server is refused.

    The value is not shown then: it may contain a password.
    """

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(value).expanduser()
        if _ADDRESS.fullmatch(str(value)) and not path.exists():
            self.fail("this is an address, not a directory; give it as --url", param, ctx)
        if path.exists() and not path.is_dir():
            self.fail(f"{str(value)!r} is a file, not a directory", param, ctx)
        return path


@dataclass(frozen=True, slots=True)
class Database:
    """The database that a command was given: a URL, or a directory with a PostgreSQL of its own."""

    url: str | None = field(default=None, repr=False)
    path: Path | None = None

    @contextmanager
    def conninfo(self) -> Generator[str, None, None]:
        """Yield a connection string for libpq; the PostgreSQL of a directory runs meanwhile.

        Raises:
            click.UsageError: The directory has no database. Only `pgchroma run` makes one.
        """
        if self.path is None:
            yield plain_conninfo(self.url or "")
            return
        from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (an extra)

        with EmbeddedPostgres.open(_existing(self.path)) as postgres:
            yield postgres.conninfo

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        """Yield what executes operations there. A catalog that is not up to date is refused."""
        with exit_on_error(), self.conninfo() as conninfo:
            # Others may work with this database, so it is not upgraded in passing.
            settings = Settings(migrations="validate", pgchroma_compaction=False)
            backend = connect(conninfo, settings)
            try:
                yield backend
            finally:
                backend.close()


def on_database(*, takes_argument: bool = False) -> Callable[[F], F]:
    """Give a command the options ``--url`` and ``--path``, and pass it ``target``, a `Database`.

    Args:
        takes_argument: Whether the URL may also be a positional argument.
    """
    options = [
        click.option("--url", help=f"URL of the database; better in {URL}: arguments are public."),
        click.option(
            "--path",
            type=Directory(),
            help="Directory of an embedded PostgreSQL, instead of --url.",
        ),
    ]
    if takes_argument:
        options.append(click.argument("url_argument", metavar="[URL]", required=False))

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            places = (given.pop(name, None) for name in ("url_argument", "url", "path"))
            return command(*args, target=_chosen(*places), **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


def _chosen(argument: str | None, url: str | None, path: Path | None) -> Database:
    given = {"URL": argument, "--url": url, "--path": path}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} exclude each other; give one of them")
    return Database(argument or url, path) if names else _from_environment()


def _from_environment() -> Database:
    url = url_from_environment()
    if url is not None:
        return Database(url)
    path = next((os.environ[name] for name in PATHS if os.environ.get(name)), None)
    if path is None:
        raise click.UsageError(
            f"which database? Give --url or --path, or set {URL}, {URL_FILE} or {PATHS[0]}"
        )
    return Database(path=Directory().convert(path, None, None))


def url_from_environment() -> str | None:
    """Return the URL in ``PGCHROMA_URL``, or in the file that ``PGCHROMA_URL_FILE`` names."""
    url, file = os.environ.get(URL) or None, os.environ.get(URL_FILE)
    if url and file:
        raise click.UsageError(f"{URL} and {URL_FILE} exclude each other; unset one of them")
    if not file:
        return url
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise click.UsageError(f"{URL_FILE} {file} cannot be read: {reason}") from fault


def _existing(path: Path) -> Path:
    if (path / "postgres" / "PG_VERSION").is_file():
        return path
    raise click.UsageError(
        f"--path {str(path)!r}: there is no database in this directory; "
        "`pgchroma run --path` and PersistentClient make one"
    )
