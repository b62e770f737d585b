"""One peer's part of the embedding benchmark: texts a second of its default function.

Run as ``python benchmarks/embedding.py chromadb|pgchroma``. Prints the rates and some values.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time

SENTENCE = "the keeper of the old lighthouse counts every ship that passes the rocks at night "
TEXTS = {
    "short (5 to 15 words)": [SENTENCE[: 30 + n % 50] + str(n) for n in range(64)],
    "200 tokens": [f"{n} " + SENTENCE * 12 for n in range(32)],
}


def main() -> None:
    """Measure the peer the command line names."""
    module = importlib.import_module(f"{sys.argv[1]}.utils.embedding_functions")
    function = module.DefaultEmbeddingFunction()
    function(["warm up"])
    rates, values = {}, {}
    for name, texts in TEXTS.items():
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            vectors = function(texts)
            times.append(time.perf_counter() - begin)
        rates[name] = len(texts) / statistics.median(times)
        values[name] = [float(value) for vector in vectors[:4] for value in vector]
    print(json.dumps({"rates": rates, "values": values}))


if __name__ == "__main__":
    main()
