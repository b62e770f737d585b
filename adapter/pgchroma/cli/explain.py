"""``pgchroma explain``: how PostgreSQL runs a query."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pgchroma.cli.collection_options import database_options
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import json_option, print_json, printable
from pgchroma.errors import ChromaError
from pgchroma.model.inspection import QueryPlan

__all__ = ("explain",)

_MAX_FILE_BYTES = 16 << 20


def filter_json(text: str) -> dict[str, Any]:
    """Parse a filter; the type of an option.

    Raises:
        click.BadParameter: It is not a JSON object.
    """
    try:
        parsed = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise click.BadParameter('expected a JSON object such as {"year": {"$gte": 2020}}')
    return parsed


filter_json.__name__ = "json"


@click.command(short_help="Show how PostgreSQL runs a query.")
@click.argument("collection")
@click.option(
    "--vector-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="The query: a file with a JSON list of numbers, or NumPy's .npy; - is standard input.",
)
@click.option("--text", help="The query as a text, which the collection's function embeds.")
@click.option("--where", type=filter_json, help="A metadata filter, as JSON.")
@click.option("--where-document", type=filter_json, help="A filter of documents, as JSON.")
@click.option(
    "--n", type=click.IntRange(min=1), default=10, show_default=True, help="The number of results."
)
@click.option("--plan", "has_plan", is_flag=True, help="Also print the statement and its plan.")
@database_options
@json_option
@on_database()
def explain(
    collection: str,
    vector_file: Path | None,
    text: str | None,
    tenant: str,
    database: str,
    target: TargetDatabase,
    n: int,
    has_plan: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Run a query on COLLECTION, and show its indexes, the rows it read and the time it took.

    It is `explain` of a collection in Python. The query runs, and its results are not shown.
    """
    if (vector_file is None) == (text is None):
        raise click.UsageError("give the query with --vector-file or with --text")
    query: dict[str, Any] = (
        {"query_texts": [text]}
        if vector_file is None
        else {"query_embeddings": _vectors(vector_file)}
    )
    with target.client(tenant, database) as client:
        try:
            plan = client.get_collection(collection).explain(**query, n_results=n, **filters)
        except (ChromaError, ImportError):
            raise
        except (TypeError, ValueError) as error:
            # A filter of another form, or an embedding function that cannot be built here.
            raise CommandError(str(error), 2) from error
    if as_json:
        print_json({**asdict(plan), "plan": json.loads(plan.plan or "null")})
    else:
        _print(plan, has_plan=has_plan)


def _print(plan: QueryPlan, *, has_plan: bool) -> None:
    for line in str(plan).splitlines():
        click.echo(printable(line))
    if has_plan:
        click.echo(f"\n{plan.sql}\n\n{plan.plan}")


def _vectors(file: Path) -> NDArray[np.float32]:
    """Read vectors of shape ``(queries, dimension)``.

    Raises:
        click.UsageError: The file contains something else.
    """
    with click.open_file(str(file), "rb") as opened:
        content = opened.read(_MAX_FILE_BYTES + 1)
    name = "standard input" if str(file) == "-" else str(file)
    if len(content) > _MAX_FILE_BYTES:
        raise click.UsageError(f"--vector-file: {name} has more than {_MAX_FILE_BYTES >> 20} MiB")
    try:
        vectors = np.atleast_2d(_parse(content))
        if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():  # noqa: PLR2004
            raise ValueError
    except (ValueError, TypeError, RecursionError) as error:
        raise click.UsageError(
            f"--vector-file: {name} is neither a JSON list of numbers nor a vector in NumPy's .npy"
        ) from error
    return vectors


def _parse(content: bytes) -> NDArray[np.float32]:
    if content.startswith(b"\x93NUMPY"):
        from io import BytesIO  # noqa: PLC0415

        return np.load(BytesIO(content), allow_pickle=False).astype(np.float32)  # type: ignore[no-any-return]
    return np.array(json.loads(content), dtype=np.float32)
