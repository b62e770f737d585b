"""The demo: getting started, then the documentation of Python's standard library, searched.

Run by ``make demo``. It needs nothing but this package and the machine's own Python.
"""

from __future__ import annotations

import ast
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import pgchroma as chromadb
from pgchroma.embedded import EmbeddedPostgres

BATCH = 256
MAX_DOCSTRINGS = 6_000
"""Docstrings to index; every installation of Python has more than this."""

console = Console()


def main() -> None:
    """Show the getting-started example, then index, ask and read with SQL."""
    begin = time.monotonic()
    with TemporaryDirectory(prefix="pgchroma-demo-") as directory:
        client = chromadb.PersistentClient(directory)
        try:
            getting_started(client)
            collection = index_standard_library(client)
            ask(collection)
            read_with_sql(Path(directory))
        finally:
            client.close()
    console.print(f"\nDone in {time.monotonic() - begin:.0f} s.")


def getting_started(client: chromadb.ClientAPI) -> None:
    """Two documents and a question."""
    console.rule("Getting started")
    collection = client.create_collection(name="my_collection")
    collection.add(
        ids=["id1", "id2"],
        documents=[
            "This is a document about pineapple",
            "This is a document about oranges",
        ],
    )
    results = collection.query(query_texts=["This is a query document about hawaii"], n_results=2)
    console.print(results)


def index_standard_library(client: chromadb.ClientAPI) -> chromadb.Collection:
    """Store the standard library's docstrings under ``module.name``."""
    console.rule("The standard library's docstrings")
    collection = client.create_collection(name="standard_library")
    entries = list(docstrings(Path(sysconfig.get_path("stdlib"))))[:MAX_DOCSTRINGS]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("embedding and storing", total=len(entries))
        for first in range(0, len(entries), BATCH):
            part = entries[first : first + BATCH]
            collection.add(
                ids=[entry["id"] for entry in part],
                documents=[entry["text"] for entry in part],
                metadatas=[entry["metadata"] for entry in part],
            )
            progress.advance(task, len(part))
    console.print(f"{collection.count()} docstrings are stored.")
    return collection


def ask(collection: chromadb.Collection) -> None:
    """Ask by meaning, with a metadata filter, with a substring and with a pattern."""
    show(
        collection.query(query_texts=["remove a directory and everything in it"], n_results=5),
        "By meaning: remove a directory and everything in it",
    )
    show(
        collection.query(
            query_texts=["wait until several things have finished"],
            n_results=5,
            where={
                "$and": [
                    {"module": {"$in": ["asyncio", "threading", "concurrent"]}},
                    {"kind": {"$ne": "module"}},
                ]
            },
        ),
        "By meaning, in asyncio, threading and concurrent only: wait until several things finish",
    )
    show(
        collection.query(
            query_texts=["encode bytes as text"],
            n_results=5,
            where_document={"$contains": "RFC"},
        ),
        'By meaning, where the text contains "RFC": encode bytes as text',
    )
    show(
        collection.query(
            query_texts=["dates and times"],
            n_results=5,
            where={"length": {"$lt": 400}},
            where_document={"$regex": r"(?i)\b(iso|rfc)[ -]?\d{3,}"},
        ),
        "By meaning, short and naming a standard by number: dates and times",
    )


def show(results: Any, title: str) -> None:
    """Print a query's answer as a table."""
    table = Table(title=title, title_justify="left", expand=True)
    table.add_column("distance", justify="right", no_wrap=True)
    table.add_column("id", overflow="ellipsis", no_wrap=True, ratio=3)
    table.add_column("kind", no_wrap=True)
    table.add_column("document", overflow="ellipsis", no_wrap=True, ratio=4)
    columns = ("distances", "ids", "metadatas", "documents")
    for distance, id, metadata, document in zip(*(results[c][0] for c in columns), strict=True):
        primary_message = " ".join(document.split())[:120]
        table.add_row(f"{distance:.3f}", id, metadata["kind"], primary_message)
    console.print(table)


def read_with_sql(directory: Path) -> None:
    """Read the same data with plain SQL, through the collection's view."""
    console.rule("The same data in SQL")
    query = """
        select metadata ->> 'module' as module, count(*) as entries,
               round(avg((metadata ->> 'length')::int)) as mean_length
        from default_tenant__default_database.standard_library
        group by 1 order by entries desc limit 5
    """
    console.print(query.strip("\n"), style="dim", highlight=False)
    table = Table("module", "entries", "mean_length")
    with (
        EmbeddedPostgres.open(directory) as postgres,
        psycopg.connect(postgres.conninfo) as connection,
    ):
        for row in connection.execute(query):
            table.add_row(*(str(value) for value in row))
    console.print(table)


def docstrings(library: Path) -> Iterator[dict[str, Any]]:
    """Read the docstrings of a library's public modules, classes and functions."""
    skipped = {"test", "tests", "idlelib", "lib2to3", "distutils", "site-packages", "turtledemo"}
    seen: set[str] = set()
    for file in sorted(library.rglob("*.py")):
        parts = file.relative_to(library).with_suffix("").parts
        is_public = not any(part.startswith("_") and part != "__init__" for part in parts)
        if skipped & set(parts) or not is_public:
            continue
        name = ".".join(part for part in parts if part != "__init__")
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for path, kind, text in walk(tree, name):
            if path not in seen:
                seen.add(path)
                metadata = {"module": parts[0], "kind": kind, "length": len(text)}
                yield {"id": path, "text": text, "metadata": metadata}


def walk(node: ast.AST, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, kind and text of every docstring at or below a node."""
    kinds = {ast.Module: "module", ast.ClassDef: "class"}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield path, kinds.get(type(node), "function"), text
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not child.name.startswith("_"):
            yield from walk(child, f"{path}.{child.name}")


if __name__ == "__main__":
    main()
