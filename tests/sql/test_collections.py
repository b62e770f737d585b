"""chroma.collections: the sizes of collections."""

from __future__ import annotations

import numpy as np

from tests.planner.segments import create, quiet, seal
from tests.sql.conftest import Run


def test_sizes_are_those_of_the_tables(url: str, run: Run) -> None:
    with quiet(url) as client:
        create(client, "empty")
        papers = create(client)
        vectors = np.random.default_rng(1).normal(size=(30, 4))
        papers.add(ids=[str(n) for n in range(20)], embeddings=vectors[:20])
        seal(url, papers)
        papers.add(ids=[str(n) for n in range(20, 30)], embeddings=vectors[20:])
        papers.delete(ids=["0", "1", "2", "3", "4", "25"])
        (written,) = run("select max(updated_at) from default_tenant__default_database.papers")
    select = (
        "select collection, rows, segments, tail, dead, last_write, bytes > 8192 "
        "from chroma.collections order by collection"
    )
    assert run(select) == [
        ("empty", 0, 0, None, None, None, True),
        ("papers", 24, 1, 9, 0.25, written[0], True),
    ]
