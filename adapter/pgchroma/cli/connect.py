"""``pgchroma db connect``: the lines with which programs connect to a database."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import click
from psycopg import sql

from pgchroma.backends.urls import without_secrets
from pgchroma.cli.collection_options import tenant_option
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import json_option, print_json
from pgchroma.cli.secret_variables import secret_variable
from pgchroma.cli.servers import API_KEY, server_address
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.names import DEFAULT_DATABASE, check_looked_up
from pgchroma.model.operations import GetDatabase
from pgchroma.store.access import schemas_of_databases
from pgchroma.store.running._sync.driver import run

__all__ = ("connect",)

_LANGUAGES: Final = ("python", "javascript", "typescript", "psql")
_SERVER: Final = "http://localhost:8000"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the database is, without a password or a key.

    Attributes:
        text: A URL, a connection string or a directory.
        is_secret: Whether a password or a key is needed in addition.
        schema: The schema of the database; `None` behind a server.
    """

    target: TargetDatabase
    scope: DatabaseRef
    text: str
    is_secret: bool
    schema: str | None


@click.command("connect")
@click.argument("name", default=DEFAULT_DATABASE)
@tenant_option
@click.option("--language", type=click.Choice(_LANGUAGES), help="Print only the lines for this.")
@click.option(
    "--env-vars", is_flag=True, help="Print the lines of a .env file with the variables instead."
)
@json_option
@on_database()
def connect(
    name: str,
    tenant: str,
    language: str | None,
    env_vars: bool,
    as_json: bool,
    target: TargetDatabase,
) -> None:
    """Print the lines with which Python, JavaScript and psql connect to the database NAME.

    They contain no password and no key: Python and psql take a password from PGPASSWORD or
    ~/.pgpass, and the key of a server is in PGCHROMA_API_KEY.
    """
    with exit_on_error():
        scope = DatabaseRef(check_looked_up(tenant), check_looked_up(name))
    place = _place(target, scope)
    lines = {"python": _python(place), "javascript": _javascript(place), "psql": _psql(place)}
    if env_vars:
        variables = _variables(place)
        if as_json:
            print_json(variables)
        else:
            click.echo("\n".join(f"{name}={shlex.quote(text)}" for name, text in variables.items()))
        return
    if language is not None:
        lines = {language: lines["javascript" if language == "typescript" else language]}
    if as_json:
        print_json(lines)
    else:
        click.echo("\n\n".join(lines.values()))


def _place(target: TargetDatabase, scope: DatabaseRef) -> _Place:
    with target.backend() as backend:
        backend.execute(GetDatabase(scope))
        if target.is_server:
            url = target.url or ""
            needs_key = target.secret is not None or secret_variable(API_KEY)[0] is not None
            return _Place(target, scope, server_address(url), needs_key or "@" in url, None)
        # An embedded PostgreSQL still runs.
        with target.connection() as connection:
            (schema,) = run(connection, schemas_of_databases(scope.tenant, scope.database))
    if target.path is not None:
        return _Place(target, scope, str(target.path), False, schema)
    text, is_secret = _without_password(target.url or "")
    return _Place(target, scope, text, is_secret or target.secret is not None, schema)


def _without_password(url: str) -> tuple[str, bool]:
    """Return a database's URL without its password, and whether there is one."""
    plain = without_secrets(url)
    parts = urlsplit(url) if "://" in url else None
    if parts is None or parts.query:
        return plain, "password" in url
    user, colon, _ = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    scheme = parts.scheme.partition("+")[0]
    shown = parts._replace(scheme=scheme, netloc=f"{user}@{host}" if user else host)
    return shown.geturl(), bool(colon)


def _python(place: _Place) -> str:
    factory = {True: "HttpClient"}.get(place.target.is_server, "PostgresClient")
    if place.target.path is not None:
        factory = "PersistentClient"
    names = f"tenant={place.scope.tenant!r}, database={place.scope.database!r}"
    lines = ["# Python", "import pgchroma", ""]
    arguments = [repr(place.text), names]
    if place.target.is_server and place.is_secret:
        lines[1:2] = ["import os", "", "import pgchroma"]
        arguments.append(f'headers={{"X-Chroma-Token": os.environ["{API_KEY}"]}}')
    elif place.is_secret:
        lines.append("# The password comes from PGPASSWORD or ~/.pgpass.")
    body = "".join(f"    {argument},\n" for argument in arguments)
    return "\n".join([*lines, f"client = pgchroma.{factory}(\n{body})"])


def _javascript(place: _Place) -> str:
    lines = ["// JavaScript and TypeScript", 'import { ChromaClient } from "chromadb";', ""]
    server = place.text if place.target.is_server else _SERVER
    if not place.target.is_server:
        flag = "--path" if place.target.path is not None else "--url"
        lines.append(f"// It connects to a server: pgchroma run {flag} {shlex.quote(place.text)}")
    parts = urlsplit(server)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    options = {
        "host": parts.hostname,
        "port": port,
        "ssl": parts.scheme == "https",
        "tenant": place.scope.tenant,
        "database": place.scope.database,
    }
    written = [f"  {name}: {json.dumps(value)}," for name, value in options.items()]
    if place.is_secret or not place.target.is_server:
        written.append(f'  headers: {{ "x-chroma-token": process.env.{API_KEY} }},')
    return "\n".join([*lines, "const client = new ChromaClient({", *written, "});"])


def _psql(place: _Place) -> str:
    if place.schema is None:
        return "# psql\n# SQL needs the URL of the database, which a server does not tell."
    schema = sql.Identifier(place.schema).as_string(None)
    path = f"PGOPTIONS={shlex.quote(f'-c search_path={schema},public')}"
    if place.target.path is not None:
        return (
            f"# psql; the collections are views in the schema {schema}\n"
            f"pgchroma psql --path {shlex.quote(place.text)}"
        )
    return (
        f"# psql; the collections are views in the schema {schema}\n"
        f"{path} psql {shlex.quote(place.text)}"
    )


def _variables(place: _Place) -> Mapping[str, str]:
    """Return the variables that commands, and Chroma's clients of a server, read."""
    name = "PGCHROMA_PATH" if place.target.path is not None else "PGCHROMA_URL"
    variables = {name: place.text}
    if place.target.is_server:
        variables["CHROMA_HOST"] = place.text
    return {
        **variables,
        "CHROMA_TENANT": place.scope.tenant,
        "CHROMA_DATABASE": place.scope.database,
    }
