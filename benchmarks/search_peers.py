"""The same documents and queries in bm25s and LanceDB, in an environment of their own.

`benchmarks/search.py` runs this file. It reads a JSON object with ``documents`` and ``queries``
from the standard input, and writes one with the seconds and milliseconds of each peer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

TURNS = 4


def main() -> None:
    """Index the documents with each peer, and search them."""
    given = json.load(sys.stdin)
    documents, queries = given["documents"], given["queries"]
    measured = {
        peer: _measure(make, documents, queries)
        for peer, make in (("bm25s", _bm25s), ("lancedb", _lancedb))
    }
    json.dump(measured, sys.stdout)


def _measure(
    make: Callable[[str, Sequence[str]], Callable[[str], Any]],
    documents: Sequence[str],
    queries: Sequence[str],
) -> dict[str, float]:
    """Return the processor's time of indexing, and the medians of a search for ten documents."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
        begin = time.process_time()
        search = make(directory, documents)
        indexing = time.process_time() - begin
        for query in queries[:10]:
            search(query)
        turns = sorted(_turn(search, queries) for _ in range(TURNS))
    cpu, wall = turns[len(turns) // 2]
    return {"indexing": indexing, "cpu": cpu, "wall": wall}


def _turn(search: Callable[[str], Any], queries: Sequence[str]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for query in queries:
        search(query)
    ms = 1_000 / len(queries)
    return (time.process_time() - cpu) * ms, (time.perf_counter() - wall) * ms


def _bm25s(_directory: str, documents: Sequence[str]) -> Callable[[str], Any]:
    import bm25s  # noqa: PLC0415

    index = bm25s.BM25()
    index.index(bm25s.tokenize(documents, show_progress=False), show_progress=False)

    def search(query: str) -> Any:
        words = bm25s.tokenize(query, show_progress=False)
        return index.retrieve(words, k=10, show_progress=False)

    return search


def _lancedb(directory: str, documents: Sequence[str]) -> Callable[[str], Any]:
    import lancedb  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    columns = {"id": [f"d{n}" for n in range(len(documents))], "document": list(documents)}
    table = lancedb.connect(directory).create_table("documents", pa.table(columns))
    table.create_index("document", config=lancedb.index.FTS(with_position=False))

    def search(query: str) -> Any:
        found = table.search(query, query_type="fts").limit(10)
        return found.select(["id", "_score"]).to_arrow()

    return search


if __name__ == "__main__":
    main()
