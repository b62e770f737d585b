"""Results as pandas data frames: `get_result_to_df` and `query_result_to_dfs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgchroma.extras import load_extra

__all__ = ("get_result_to_df", "query_result_to_dfs")


def query_result_to_dfs(query_result: Mapping[str, Any]) -> list[Any]:
    """Return a frame for each query, with the ids as its index and a column for each field.

    Raises:
        ImportError: pandas is not installed.
    """
    columns = _columns(query_result)
    return [
        _frame({name: column[query] for name, column in columns.items()})
        for query in range(len(query_result["ids"]))
    ]


def get_result_to_df(get_result: Mapping[str, Any]) -> Any:
    """Return a frame with the ids as its index and a column for each field.

    Raises:
        ImportError: pandas is not installed.
    """
    return _frame(_columns(get_result))


def _columns(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the included columns with singular names, because a row has one of each."""
    present = {name.rstrip("s"): result.get(name) for name in result["included"]}
    return {"id": result["ids"], **{k: v for k, v in present.items() if v is not None}}


def _frame(columns: Mapping[str, Any]) -> Any:
    pandas = load_extra("pandas", "pandas")
    # A matrix of embeddings becomes a list for each row.
    lists = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in columns.items()}
    return pandas.DataFrame(lists).set_index("id")
