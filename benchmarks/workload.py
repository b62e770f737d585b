"""One peer's part of the core benchmark: the same calls on the same data, timed one by one.

Run as ``python benchmarks/workload.py PEER DIRECTORY RECORDS``, where PEER is ``chromadb``,
``pgchroma`` or ``psycopg``. The first two are one program, since their interfaces are one. Prints
a JSON object: operation to seconds, the median of several calls.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

DIMENSION = 384
BATCH = 1_000
CHANGED = 1_000
"""How many records an update, an upsert and a delete touch."""


def records(count: int) -> dict[str, Any]:
    """Return the data: clustered vectors, documents of some 300 characters, four metadata keys."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(100, DIMENSION))
    vectors = centres[random.integers(0, 100, count)] + random.normal(size=(count, DIMENSION)) * 0.4
    return {
        "ids": [f"id-{n:07d}" for n in range(count)],
        "embeddings": vectors.astype(np.float32),
        "documents": texts(random, count),
        "metadatas": [
            {"n": n, "category": f"c{n % 10}", "score": n / 7, "even": n % 2 == 0}
            for n in range(count)
        ],
    }


def texts(random: np.random.Generator, count: int) -> list[str]:
    """Return documents of 45 words."""
    words = _words(random, 5_000)
    # Words are as unevenly frequent as in natural text: the n-th about 1/n of the first.
    frequencies = 1 / np.arange(1, len(words) + 1)
    picked = random.choice(len(words), size=(count, 45), p=frequencies / frequencies.sum())
    return [" ".join(words[w] for w in row) for row in picked]


def _words(random: np.random.Generator, count: int) -> list[str]:
    """Return pronounceable words of two to four syllables, the most frequent first."""
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    lengths = random.integers(2, 5, count * 2)
    made = ("".join(random.choice(syllables, length)) for length in lengths)
    return list(dict.fromkeys(made))[:count]


def batch(data: dict[str, Any], first: int, count: int) -> dict[str, Any]:
    """Cut some consecutive records out of the data."""
    return {column: values[first : first + count] for column, values in data.items()}


def text_filters(data: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Pick texts and patterns that one in some thousand documents has, and one in some ten."""
    documents = data["documents"]
    first, second, third = documents[len(documents) // 2].split()[10:13]
    counts = Counter(word for document in documents[:2_000] for word in document.split())
    common, next_common = (word for word, _ in counts.most_common(62)[60:])
    return {
        "$contains, rare": {"$contains": f"{first} {second}"},
        "$contains, common": {"$contains": common},
        "$regex, rare": {"$regex": rf"\b{second} \w+{third[-3:]}\b"},
        "$regex, common": {"$regex": rf"\b(?:{common}|{next_common})\b"},
    }


def timed(call: Callable[[], Any], repeats: int, *, warm: int = 1) -> float:
    """Return the median time of a call, in seconds, after some that do not count."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure_interface(module: Any, directory: Path, count: int) -> dict[str, float]:
    """Time the calls of Chroma's interface, whichever package offers it."""
    data = records(count)
    client = module.PersistentClient(path=str(directory))
    collection = client.create_collection("bench", embedding_function=None)
    results = {"insert": _insert(collection, data, count)}
    query = data["embeddings"][count // 3].tolist()
    ids = data["ids"][:: count // 10][:10]
    half, page = count // 2, 100
    some = ["metadatas", "documents"]
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "get by ids": (lambda: collection.get(ids=ids), 100),
        "get with metadata filter": (lambda: collection.get(where={"category": "c3"}), 15),
        "page at half": (lambda: collection.get(limit=page, offset=half, include=some), 30),
        **{
            name: (partial(collection.get, where_document=where), 15)
            for name, where in text_filters(data).items()
        },
        "count": (collection.count, 50),
        "query": (lambda: collection.query(query_embeddings=[query], n_results=10), 30),
        "query with filter": (
            lambda: collection.query(
                query_embeddings=[query], n_results=10, where={"category": "c3"}
            ),
            15,
        ),
    }
    for name, (call, repeats) in calls.items():
        results[name] = timed(call, repeats)
    results |= _changes(collection, data)
    results["create collection"] = _create(client)
    return results


def _insert(collection: Any, data: dict[str, Any], count: int) -> float:
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        collection.add(**batch(data, first, BATCH))
    return (time.perf_counter() - begin) / count


def _changes(collection: Any, data: dict[str, Any]) -> dict[str, float]:
    changed = batch(data, 0, CHANGED)
    versions = iter(range(10**6))
    update = timed(
        lambda: collection.update(
            ids=changed["ids"], metadatas=[{"n": next(versions)} for _ in changed["ids"]]
        ),
        5,
    )
    upsert = timed(
        lambda: collection.upsert(ids=changed["ids"], embeddings=changed["embeddings"] + 0.1), 3
    )
    parts = iter(range(1, 8))

    def delete() -> None:
        first = next(parts) * CHANGED
        collection.delete(ids=data["ids"][first : first + CHANGED])

    return {
        "update metadata": update,
        "upsert existing": upsert / CHANGED,
        "delete": timed(delete, 3),
    }


def _create(client: Any) -> float:
    names = iter(range(100))
    return timed(
        lambda: client.create_collection(f"empty-{next(names)}", embedding_function=None), 20
    )


def main() -> None:
    """Measure the peer the command line names."""
    peer, directory, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if peer == "psycopg":
        handwritten = importlib.import_module("handwritten")
        results = handwritten.measure(directory, records(count))
    else:
        results = measure_interface(importlib.import_module(peer), directory, count)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
