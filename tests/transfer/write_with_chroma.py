"""A program that writes a data directory with the installed Chroma, and prints what is in it."""

from __future__ import annotations

import json
import sys

import chromadb
import numpy as np


def main(path: str) -> None:
    client = chromadb.PersistentClient(path)
    chance = np.random.default_rng(3)
    collection = client.create_collection(
        "written",
        metadata={"topic": "tests", "year": 2024, "ratio": 0.5, "good": True},
        configuration={"hnsw": {"space": "ip", "sync_threshold": 300, "batch_size": 100}},
        embedding_function=None,
    )
    records: dict[str, tuple[list[float], str, dict[str, object]]] = {}
    for start in range(0, 1000, 100):
        ids = [f"id-{n}" for n in range(start, start + 100)]
        vectors = chance.standard_normal((100, 24)).astype(np.float32).tolist()
        metadatas = [{"n": n, "tags": ["a", str(n)]} for n in range(100)]
        collection.add(ids, vectors, metadatas, [f"document {id}" for id in ids])
        rows = zip(vectors, [f"document {id}" for id in ids], metadatas, strict=True)
        records.update(zip(ids, rows, strict=True))
    for id in list(records)[::7]:
        vector = chance.standard_normal(24).astype(np.float32).tolist()
        collection.update([id], [vector], documents=["changed"])
        records[id] = (vector, "changed", records[id][2])
    for id in list(records)[3::11]:
        collection.update([id], metadatas=[{"more": 1.5}])
        records[id] = (*records[id][:2], {**records[id][2], "more": 1.5})
    for id in list(records)[5::13]:
        collection.delete([id])
        del records[id]
    print(json.dumps(records))


if __name__ == "__main__":
    main(sys.argv[1])
