"""``pgchroma collections``: list, show, delete and rename the collections of a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from pgchroma.backends._sync.base import Backend
from pgchroma.cli.collection_options import database_options
from pgchroma.cli.confirmation import confirm, yes_option
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.groups import Subcommands
from pgchroma.cli.measuring import measured
from pgchroma.cli.printing import json_option, print_json, print_table, printable, size_text
from pgchroma.errors import NotFoundError
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.names import check_looked_up, check_name
from pgchroma.model.operations import (
    CollectionRef,
    CountRecords,
    DeleteCollection,
    GetCollection,
    GetDatabase,
    ListCollections,
    ModifyCollection,
)
from pgchroma.store.statistics import CollectionStatistics

__all__ = ("collections",)

_COLUMNS = ("name", "rows", "dimension", "space", "embedding function")


@click.group(cls=Subcommands)
def collections() -> None:
    """List, show, delete and rename the collections of a database."""


@collections.command("list")
@database_options
@json_option
@on_database()
def list_collections(tenant: str, database: str, as_json: bool, target: TargetDatabase) -> None:
    """List the collections by name, with their rows, and with their sizes where SQL is available.

    The tail is the number of embeddings without an index, which a search scans.
    """
    found = _described(target, _scope(tenant, database))
    if as_json:
        print_json(found)
        return
    has_sizes = not target.is_server
    columns = (*_COLUMNS, "size", "tail") if has_sizes else _COLUMNS
    print_table(columns, (_cells(each, has_sizes=has_sizes) for each in found))


@collections.command("show")
@click.argument("name")
@database_options
@json_option
@on_database()
def show_collection(
    name: str, tenant: str, database: str, as_json: bool, target: TargetDatabase
) -> None:
    """Show the collection NAME with its metadata and its configuration."""
    scope = _scope(tenant, database)
    with target.backend() as backend:
        model = backend.execute(GetCollection(scope, _looked_up(name)))
        rows = backend.execute(CountRecords(_ref(model)))
        # An embedded PostgreSQL still runs.
        found = [] if target.is_server else measured(target, tenant, database, name)
    shown = {
        **_summary(model, rows),
        "id": model.id,
        "tenant": model.tenant,
        "database": model.database,
        "metadata": model.metadata,
        "configuration": model.configuration_json,
    }
    for each in found:
        shown |= _measures(each)
    if as_json:
        print_json(shown)
    else:
        _print(shown)


@collections.command("delete")
@click.argument("name")
@database_options
@yes_option()
@json_option
@on_database()
def delete_collection(
    name: str, tenant: str, database: str, is_sure: bool, as_json: bool, target: TargetDatabase
) -> None:
    """Delete the collection NAME with all its records. This cannot be undone."""
    scope = _scope(tenant, database)
    with target.backend() as backend:
        model = backend.execute(GetCollection(scope, _looked_up(name)))
        rows = backend.execute(CountRecords(_ref(model)))
        confirm(is_sure, f"Delete collection {printable(name)} and its {rows:,} records?")
        backend.execute(DeleteCollection(scope, name))
    if as_json:
        print_json({"name": name, "rows": rows})
    else:
        click.echo(f"deleted collection {printable(name)} with {rows:,} records")


@collections.command("rename")
@click.argument("name")
@click.argument("new_name")
@database_options
@json_option
@on_database()
def rename_collection(
    name: str, new_name: str, tenant: str, database: str, as_json: bool, target: TargetDatabase
) -> None:
    """Rename the collection NAME to NEW_NAME."""
    scope = _scope(tenant, database)
    with exit_on_error():
        check_name(new_name)
    with target.backend() as backend:
        model = backend.execute(GetCollection(scope, _looked_up(name)))
        backend.execute(ModifyCollection(_ref(model), name=new_name))
    if as_json:
        print_json({"id": model.id, "name": new_name, "former_name": name})
    else:
        click.echo(f"renamed collection {printable(name)} to {new_name}")


def _described(target: TargetDatabase, scope: DatabaseRef) -> list[dict[str, Any]]:
    with target.backend() as backend:
        backend.execute(GetDatabase(scope))
        if target.is_server:
            return _counted(backend, scope)
        # An embedded PostgreSQL still runs.
        return [_from_statistics(each) for each in measured(target, scope.tenant, scope.database)]


def _counted(backend: Backend, scope: DatabaseRef) -> list[dict[str, Any]]:
    models = backend.execute(ListCollections(scope))
    # Chroma's own server lists them in the order of their ids.
    models = sorted(models, key=lambda model: model.name)
    return [each for model in models for each in _summaries(backend, model)]


def _summaries(backend: Backend, model: CollectionModel) -> Iterator[dict[str, Any]]:
    # It may have been deleted since.
    with suppress(NotFoundError):
        yield _summary(model, backend.execute(CountRecords(_ref(model))))


def _summary(model: CollectionModel, rows: int) -> dict[str, Any]:
    return {
        "name": model.name,
        "rows": rows,
        "dimension": model.dimension,
        "space": model.configuration.hnsw.space,
        "embedding_function": model.configuration.function_name,
    }


def _from_statistics(found: CollectionStatistics) -> dict[str, Any]:
    stored = found.stored
    return {
        "name": stored.name,
        "rows": found.records,
        "dimension": stored.dimension,
        "space": stored.configuration.hnsw.space,
        "embedding_function": stored.embedding_function,
        **_measures(found),
    }


def _measures(found: CollectionStatistics) -> dict[str, Any]:
    return {"bytes": found.stored.sizes.total, "tail": found.tail}


def _cells(each: dict[str, Any], *, has_sizes: bool) -> tuple[object, ...]:
    keys = ("name", "rows", "dimension", "space", "embedding_function")
    plain = tuple(each[key] for key in keys)
    return (*plain, size_text(each["bytes"]), each["tail"]) if has_sizes else plain


def _print(shown: dict[str, Any]) -> None:
    for key, value in shown.items():
        if key == "bytes":
            click.echo(f"size: {size_text(value)}")
        elif isinstance(value, dict):
            click.echo(f"{key}: {json.dumps(value, indent=2, default=str)}")
        elif value is not None:
            click.echo(f"{key.replace('_', ' ')}: {printable(str(value))}")


def _scope(tenant: str, database: str) -> DatabaseRef:
    with exit_on_error():
        return DatabaseRef(check_looked_up(tenant), check_looked_up(database))


def _looked_up(name: str) -> str:
    with exit_on_error():
        return check_looked_up(name)


def _ref(model: CollectionModel) -> CollectionRef:
    return CollectionRef(DatabaseRef(model.tenant, model.database), model.id)
