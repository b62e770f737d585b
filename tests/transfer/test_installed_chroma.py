"""A directory that the installed Chroma has just written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from tests.transfer.damages import DAMAGES
from tests.transfer.sample_stores import is_equal, is_same, read_collection

CLIENTS = Path(__file__).parents[2] / ".venv" / "clients"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (CLIENTS / ".ready").exists(),
        reason="Chroma is not installed; `make clients` installs it",
    ),
]


@pytest.mark.parametrize("damage", [None, "no-pickle"])
def test_what_was_written_is_read(damage: str | None, tmp_path: Path) -> None:
    path = tmp_path / "data"
    program = Path(__file__).with_name("write_with_chroma.py")
    written = subprocess.run(
        [CLIENTS / "bin" / "python", program, path],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANONYMIZED_TELEMETRY": "False"},
        check=True,
        capture_output=True,
        text=True,
    )
    records = json.loads(written.stdout)
    if damage is not None:
        DAMAGES[damage](path)
    with ChromaDirectory(path) as source:
        (collection,) = source.collections()
        read = read_collection(source, collection)
    assert (collection.dimension, collection.count) == (24, len(records))
    assert collection.configuration["hnsw"]["space"] == "ip"
    assert is_same(
        collection.metadata, {"topic": "tests", "year": 2024, "ratio": 0.5, "good": True}
    )
    assert read.ids == list(records)
    rows = zip(read.ids, read.embeddings, read.documents, read.metadatas, strict=True)
    for id, embedding, document, metadata in rows:
        vector, text, values = records[id]
        assert is_equal(embedding, np.array(vector, np.float32))
        assert document == text
        assert is_same(metadata, values)
    assert {loss.part for loss in read.losses} == (set() if damage is None else {"embedding"})
