"""Write the records of the benchmark of imports into a data directory, with Chroma itself.

`transfer.py` runs this in the environment that has Chroma.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import chromadb

from transfer_records import COLLECTION, METADATA, portions

BATCH: Final = 5_000

SAVES: Final = 100
"""How often Chroma saves the index, at most; it writes all ids each time."""

CANDIDATES: Final = 10
"""How many neighbors Chroma looks at when it links a record. Fewer make a worse index in less time,
with files of the same layout."""


def main() -> None:
    """Write the directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--records", type=int, required=True)
    options = parser.parse_args()
    client = chromadb.PersistentClient(str(options.directory))
    collection = client.create_collection(
        COLLECTION,
        embedding_function=None,
        configuration={
            "hnsw": {
                "ef_construction": CANDIDATES,
                "sync_threshold": max(1_000, options.records // SAVES),
            }
        },
    )
    for columns in portions(options.records, BATCH):
        rows = zip(*(columns[key] for key in METADATA), strict=True)
        collection.add(
            ids=columns["id"],
            embeddings=columns["embedding"],
            documents=columns["document"],
            metadatas=[dict(zip(METADATA, row, strict=True)) for row in rows],
        )


if __name__ == "__main__":
    main()
