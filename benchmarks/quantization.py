"""The loss of recall by shorter forms of embeddings in an index, and the savings of size and time.

Run by ``make bench-quantization``, on the data of the large benchmark. Each form is a separate
collection in one database; its queries run in turns with the others'. Writes
docs/benchmarks-quantization.md.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

import pgchroma
from pgchroma.embedded import EmbeddedPostgres
from revision import revision
from scale import dataset
from scale.peer_process import PYTHON, ROOT
from tables import short, table

FORMS = ("none", "halfvec", "bit")
BREADTHS = (100, 400)
RECORDS = 10_000
DATA = (dataset.clustered(384), dataset.clustered(1536), dataset.DOCSTRINGS)
NEIGHBOURS = 10


def main() -> None:
    """Measure every form on every kind of data, and write the table."""
    measured = revision()
    rows = [row for data in DATA for row in measure(data)]
    header = (
        "data",
        "an index holds",
        "ef_search",
        "recall@10",
        "p50, ms",
        "index, MB",
        "build, s",
    )
    introduction = INTRODUCTION.replace("{revision}", measured)
    text = f"{introduction}\n{table(header, 2, rows)}"
    (ROOT / "docs" / "benchmarks-quantization.md").write_text(text, encoding="utf-8")
    print(text)


def measure(data: str) -> list[tuple[str, ...]]:
    """Measure one kind of data."""
    place = dataset.make(ROOT / "build" / "bench" / "data", data, RECORDS, PYTHON)
    records = dataset.load(place)
    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
        client = pgchroma.PersistentClient(directory)
        builds = {form: _load(client, form, records) for form in FORMS}
        with EmbeddedPostgres.open(Path(directory)) as postgres:
            sizes = {form: _size(postgres.conninfo, client, form) for form in FORMS}
        truth = _truth(records)
        found = [
            (data, form, str(breadth), *_search(client, form, breadth, records, truth))
            for breadth in BREADTHS
            for form in FORMS
        ]
    return [(*row, short(sizes[row[1]] / 1e6), short(builds[row[1]])) for row in found]


def _load(client: Any, form: str, records: Any) -> float:
    collection = client.create_collection(
        f"form-{form}",
        configuration={"hnsw": {"quantization": form, "sync_threshold": 2}},
        embedding_function=None,
    )
    collection.add(ids=records.ids, embeddings=records.embeddings)
    begin = time.perf_counter()
    while collection.get_indexing_status().op_indexing_progress < 1:
        time.sleep(0.05)
    return time.perf_counter() - begin


def _size(conninfo: str, client: Any, form: str) -> int:
    name = f"vectors_{client.get_collection(f'form-{form}').id.hex}_hnsw_%"
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(
            "select sum(pg_relation_size(oid)) from pg_class where relname like %s", [name]
        ).fetchone()
    assert found
    return int(found[0])


def _truth(records: Any) -> list[set[str]]:
    found = []
    for query in records.queries:
        distances = ((records.embeddings - query) ** 2).sum(axis=1)
        found.append({records.ids[n] for n in np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]})
    return found


def _search(
    client: Any, form: str, breadth: int, records: Any, truth: list[set[str]]
) -> tuple[str, str]:
    collection = client.get_collection(f"form-{form}", embedding_function=None)
    collection.modify(configuration={"hnsw": {"ef_search": breadth}})
    times, hits = [], 0
    for turn in range(2):
        for query, nearest in zip(records.queries, truth, strict=True):
            begin = time.perf_counter()
            answer = collection.query(query_embeddings=[query], n_results=NEIGHBOURS, include=[])
            times.append(time.perf_counter() - begin)
            hits += turn * len(nearest.intersection(answer["ids"][0]))
    half = len(times) // 2
    recall = hits / (half * NEIGHBOURS)
    return f"{recall:.3f}", short(statistics.median(times[half:]) * 1000)


INTRODUCTION = f"""# Shorter forms in an index

`configuration={{"hnsw": {{"quantization": …}}}}`: the {NEIGHBOURS} nearest of {RECORDS:,}
embeddings, space l2, `M` 16, `ef_construction` 100. Distances are exact in every case; the table
of embeddings stays as it is. Made by `make bench-quantization` on the data of
[benchmarks.md](benchmarks.md), at {{revision}}. The time of a build has the seconds in that the
compactor waits for writes to ebb.
"""


if __name__ == "__main__":
    main()
