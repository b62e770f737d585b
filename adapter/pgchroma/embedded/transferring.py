"""Copying all databases of one server into another, and comparing the two.

The programs are those of the newer server, as PostgreSQL's documentation recommends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgchroma.embedded import host
from pgchroma.embedded.accounts import Account
from pgchroma.embedded.conninfo import private_conninfo
from pgchroma.embedded.locks import FileLock, poll
from pgchroma.embedded.programs import run_program
from pgchroma.embedded.reports import PidFile
from pgchroma.errors import UnavailableError

__all__ = ("Contents", "ShortServer", "copy_cluster", "read_contents")

_USER: Final = "pgchroma"
_MAX_START_SECONDS: Final = 3600.0
_MAX_STOP_SECONDS: Final = 600.0

# The shell's standard input is closed when this process ends, even if it is killed. Then the shell
# stops the server.
_SERVE: Final = """
exec 4<&0
"$@" </dev/null 4<&- &
server=$!
{ read -r _ <&4; kill -INT "$server"; } &
wait "$server"
code=$?
kill "$!" 2>/dev/null
exit "$code"
"""

_UNSAFE: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}
"""Settings of a server whose data is thrown away if the machine crashes."""


@dataclass(frozen=True, slots=True)
class ShortServer:
    """A server that runs for the time of an upgrade.

    Attributes:
        binaries: Its programs.
        account: The user it runs as.
        data: Its data directory.
        log: The file for its messages.
        lock: Every process of the server inherits it.
        is_read: Whether it is only read; otherwise its data is not safe before `sync`.
    """

    binaries: Path
    account: Account
    data: Path
    log: Path
    lock: FileLock
    is_read: bool

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run the server, and yield a connection string without a database.

        Raises:
            UnavailableError: It does not start, or does not stop.
        """
        sockets = host.make_socket_directory(self.data, self.account)
        settings = host.settings(sockets, self.data, durable=True)
        # A superuser may write all the same, but nothing here does.
        settings |= {"default_transaction_read_only": "on"} if self.is_read else _UNSAFE
        options = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with self.log.open("ab") as output:
            server = self.account.command(self.binaries / "postgres", "-D", self.data, *options)
            process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", _SERVE, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd="/",
                env=host.ENVIRONMENT,
                pass_fds=(self.lock.fd,),
                start_new_session=True,
            )
        try:
            yield self._address(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_MAX_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            host.clear_socket_directory(self.data)

    def sync(self) -> None:
        """Flush the data of the stopped server to disk."""
        command = self.account.command(self.binaries / "initdb", "--sync-only", "-D", self.data)
        _run(command, {})

    def _address(self, process: subprocess.Popen[bytes]) -> str:
        for _ in poll(lambda _: None, "", _MAX_START_SECONDS):
            if process.poll() is not None:
                break
            found = PidFile.read(self.data)
            if found is not None and found.status == "ready":
                return private_conninfo(user=_USER, host=found.socket_directory, port=found.port)
        raise UnavailableError(
            f"the PostgreSQL server on {self.data} does not start; see the end of {self.log}"
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a server's databases.

    Attributes:
        databases: Their names.
        tables: The rows of each table, by database, schema and name.
        sequences: The state of each sequence.
        indexes: The valid indexes; a dump leaves out the others.
        roles: The names of the roles.
    """

    databases: tuple[str, ...]
    tables: Mapping[tuple[str, str, str], int]
    sequences: Mapping[tuple[str, str, str], tuple[int, bool]]
    indexes: frozenset[tuple[str, str, str]]
    roles: tuple[str, ...]

    def difference(self, other: Contents) -> str | None:
        """Return the first difference in words; `None` if there is none."""
        for what in ("databases", "roles"):
            if getattr(self, what) != getattr(other, what):
                return f"the {what} are {getattr(self, what)} and {getattr(other, what)}"
        if others := self.indexes ^ other.indexes:
            return f"only one has the index {'.'.join(min(others))}"
        for what in ("tables", "sequences"):
            mine, theirs = getattr(self, what), getattr(other, what)
            for key in sorted({*mine, *theirs}):
                if mine.get(key) != theirs.get(key):
                    return f"{what}: {'.'.join(key)} has {mine.get(key)} and {theirs.get(key)}"
        return None


def copy_cluster(
    binaries: Path,
    source: str,
    target: str,
    dump: Path,
    *,
    jobs: int,
    announce: Callable[[str], None],
) -> None:
    """Copy the roles and all databases of a server into a new one.

    Args:
        binaries: The programs of the new server.
        source: The connection string of the old server, without a database.
        target: That of the new server.
        dump: A directory for files, which does not exist.
        jobs: How many tables are copied at the same time.
        announce: Called with a line about each database.

    Raises:
        UnavailableError: A program failed; the message is the end of its output.
        psycopg.Error: A server failed.
    """
    dump.mkdir(mode=0o700)
    _copy_roles(binaries, source, target, dump / "roles.sql")
    names = _databases(source)
    for number, name in enumerate(names):
        announce(f"copying database {name}")
        files = dump / str(number)
        _run(
            [
                *(str(binaries / "pg_dump"), "--format=directory", f"--jobs={jobs}", "--create"),
                *("--compress=gzip:1", "--no-sync", "-f", str(files), "-d", _of(source, name)),
            ],
            _ENVIRONMENT,
        )
        _run(
            [
                *(str(binaries / "pg_restore"), f"--jobs={jobs}", "--exit-on-error", "--create"),
                *("-d", _of(target, "template1"), str(files)),
            ],
            _ENVIRONMENT,
        )
        shutil.rmtree(files)
        with psycopg.connect(_of(target, name), autocommit=True) as connection:
            connection.execute("analyze")
    if "postgres" not in names:
        with psycopg.connect(_of(target, "template1"), autocommit=True) as connection:
            connection.execute("drop database postgres")


def read_contents(server: str) -> Contents:
    """Count the rows of all tables of a server, and read its sequences, indexes and roles."""
    tables: dict[tuple[str, str, str], int] = {}
    sequences: dict[tuple[str, str, str], tuple[int, bool]] = {}
    indexes: set[tuple[str, str, str]] = set()
    databases = _databases(server)
    for database in databases:
        with psycopg.connect(_of(server, database), autocommit=True) as connection:
            for schema, name, kind in connection.execute(_RELATIONS).fetchall():
                key, relation = (database, schema, name), sql.Identifier(schema, name)
                if kind == "S":
                    sequences[key] = _row(connection, _SEQUENCE.format(relation))
                else:
                    (tables[key],) = _row(connection, _COUNT.format(relation))
            for schema, name in connection.execute(_INDEXES).fetchall():
                indexes.add((database, schema, name))
    with psycopg.connect(_of(server, "template1"), autocommit=True) as connection:
        roles = [name for (name,) in connection.execute(_ROLES).fetchall()]
    return Contents(tuple(databases), tables, sequences, frozenset(indexes), tuple(roles))


def _copy_roles(binaries: Path, source: str, target: str, file: Path) -> None:
    _run(
        [str(binaries / "pg_dumpall"), "--globals-only", "-f", str(file), "-d", _of(source, "")],
        _ENVIRONMENT,
    )
    # initdb has created the superuser already.
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.strip() != f"CREATE ROLE {_USER};"]
    file.write_text("".join(kept), encoding="utf-8")
    psql = [str(binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file)]
    _run([*psql, "-d", _of(target, "template1")], _ENVIRONMENT)


def _databases(server: str) -> list[str]:
    with psycopg.connect(_of(server, "template1"), autocommit=True) as connection:
        return [name for (name,) in connection.execute(_DATABASES).fetchall()]


def _of(server: str, database: str) -> str:
    return make_conninfo(server, dbname=database or "template1")


def _row(connection: psycopg.Connection[Any], query: sql.Composed) -> Any:
    row = connection.execute(query).fetchone()
    if row is None:
        raise AssertionError("a query for one row returned none")
    return row


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a program; the error names it.

    Raises:
        UnavailableError: It failed.
    """
    try:
        run_program(command, environment)
    except UnavailableError as error:
        raise UnavailableError(f"{Path(command[0]).name} failed: {error.message()}") from error


_ENVIRONMENT: Final = {"PGCLIENTENCODING": "UTF8"}

_DATABASES: Final = """
select datname::text from pg_catalog.pg_database
where datallowconn and not datistemplate
order by 1
"""

_RELATIONS: Final = """
select n.nspname::text, c.relname::text, c.relkind::text
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'S') and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname !~ '^pg_(toast|temp)' and c.relpersistence <> 't'
order by 1, 2
"""

_INDEXES: Final = """
select n.nspname::text, c.relname::text
from pg_catalog.pg_index as i
join pg_catalog.pg_class as c on c.oid = i.indexrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where i.indisvalid and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname !~ '^pg_toast'
"""

_ROLES: Final = "select rolname::text from pg_catalog.pg_roles where rolname !~ '^pg_' order by 1"

_COUNT: Final = sql.SQL("select count(*) from {}")
_SEQUENCE: Final = sql.SQL("select last_value, is_called from {}")
