"""The script that copies records out of Chroma's own files runs as the documentation shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = next((ROOT / ".venv" / "clients" / "lib").glob("python3.*/site-packages"), Path())

_OLD = """
import sys
sys.path.append(sys.argv[1])
import chromadb

old = chromadb.PersistentClient("./chroma")
cosine = {"hnsw": {"space": "cosine"}}
made = old.create_collection("pages", metadata={"of": "a book"}, configuration=cosine)
ids = [f"{n:04}" for n in range(1100)]
made.add(
    ids=ids,
    embeddings=[[float(n), 1.0] for n in range(1100)],
    documents=[f"page {id}" for id in ids],
    metadatas=[{"page": n} for n in range(1100)],
)
old.create_collection("empty")
"""
_NEW = """
with pgchroma.PersistentClient("./data") as new:
    pages = new.get_collection("pages")
    assert pages.count() == 1100
    assert pages.metadata == {"of": "a book"}
    assert pages.configuration["hnsw"]["space"] == "cosine"
    found = pages.get(ids="0007", include=["embeddings", "documents", "metadatas"])
    assert found["documents"] == ["page 0007"]
    assert found["metadatas"] == [{"page": 7}]
    assert found["embeddings"].tolist() == [[7.0, 1.0]]
    assert [each.name for each in new.list_collections()] == ["empty", "pages"]
"""


@pytest.mark.heavy
@pytest.mark.skipif(
    not (PACKAGES / "chromadb").is_dir(), reason="chromadb is not installed: make clients"
)
def test_the_script_copies_collections_with_their_records(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "importing.md").read_text()
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", _OLD + found[1] + _NEW, str(PACKAGES)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
