"""Alembic's revisions: running them on a connection, and their SQL."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from pgchroma.catalog.phases import HEAD, Phase
from pgchroma.catalog.resources import resource

__all__ = (
    "Revision",
    "migrating",
    "revisions_after",
    "run_downgrade",
    "run_upgrade",
    "upgrade_sql",
)


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of the catalog.

    Attributes:
        number: Its number, such as ``0007``.
        title: What it adds, in one line.
        sql: The statements of its upgrade.
    """

    number: str
    title: str
    sql: str

    @property
    def phase(self) -> Phase:
        """The phase of an upgrade in which it runs."""
        return Phase.of(self.number)


def revisions_after(revision: str | None, last: str = HEAD) -> list[Revision]:
    """Return the revisions after the given one, in their order.

    Args:
        revision: The revision of a catalog; `None` if there is none.
        last: The last revision to return.
    """
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    found = []
    scripts = ScriptDirectory.from_config(_configuration(io.StringIO()))
    for script in scripts.iterate_revisions(last, revision or "base"):
        title = (script.doc or "").splitlines()[0]
        before = str(script.down_revision or "base")
        found.append(Revision(script.revision, title, upgrade_sql(before, script.revision)))
    return found[::-1]


def upgrade_sql(before: str | None, last: str = HEAD) -> str:
    """Return the SQL of the upgrade from one revision to another; `None` is an empty database."""
    from alembic import command  # noqa: PLC0415

    output = io.StringIO()
    command.upgrade(_configuration(output), f"{before or 'base'}:{last}", sql=True)
    return output.getvalue()


def run_upgrade(connection: Any, last: str = HEAD) -> None:
    """Run the revisions that are missing, up to the given one, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(_configuration(io.StringIO(), connection), last)


def run_downgrade(connection: Any, revision: str) -> None:
    """Undo the revisions after the given one, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415

    command.downgrade(_configuration(io.StringIO(), connection), revision)


@contextmanager
def migrating(connection: psycopg.Connection[Any]) -> Iterator[Any]:
    """Yield SQLAlchemy's connection on top of this one, with a transaction that ends with it.

    Errors of the driver are raised as psycopg's.
    """
    from sqlalchemy import create_engine, pool  # noqa: PLC0415  (half a second that starts save)
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=pool.StaticPool
    )
    try:
        with engine.begin() as open_transaction:
            yield open_transaction
    except DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()


def _configuration(output: io.StringIO, connection: Any = None) -> Any:
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config(stdout=sys.stdout, output_buffer=output)
    # Alembic interpolates this text, so a percent sign in a path has to be doubled.
    configuration.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    if connection is not None:
        configuration.attributes["connection"] = connection
    return configuration
