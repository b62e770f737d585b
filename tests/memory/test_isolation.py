"""Without the setting nothing changes: faiss is not imported, and the catalog is asked no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgchroma
from pgchroma import errors
from pgchroma.server.settings import ServerSettings
from tests.memory.indexed import remembering, sealed
from tests.planner.segments import context_of, quiet


def test_without_the_setting_faiss_is_not_imported(url: str) -> None:
    with quiet(url) as client:
        sealed(url, client)
    program = f"""
import sys, pgchroma
settings = pgchroma.Settings(pgchroma_compaction=False)
with pgchroma.PostgresClient({url!r}, settings) as client:
    papers = client.get_collection("papers", embedding_function=None)
    assert len(papers.query(query_embeddings=[[0.0] * 32])["ids"][0]) == 10
    assert client._backend._context.proposers is None
assert not {{"faiss", "pgchroma.memory"}}.intersection(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_without_the_setting_the_catalog_is_not_asked_for_tokens(url: str, tmp_path: Path) -> None:
    with quiet(url, pgchroma_pool_size=1) as client:
        assert "memory_indexes" not in _looked_up(client, sealed(url, client))
    with remembering(url, tmp_path / "memory") as client:
        papers = client.get_collection("papers", embedding_function=None)
        assert "memory_indexes" in _looked_up(client, papers)


def _looked_up(client: pgchroma.ClientAPI, collection: pgchroma.Collection) -> str:
    """Return the last statements on the client's only connection."""
    context_of(client).forget()
    collection.get(limit=1)
    pool = client._backend._source._pool  # type: ignore[attr-defined]
    texts: list[str] = []
    with pool.connection() as connection:
        connection.execute("load 'auto_explain'")
        connection.execute("set auto_explain.log_min_duration = 0")
        connection.execute("set client_min_messages = log")
        connection.add_notice_handler(lambda each: texts.append(str(each.message_primary)))
    context_of(client).forget()
    collection.get(limit=1)
    return "\n".join(texts)


def test_a_missing_extra_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    settings = pgchroma.Settings(pgchroma_memory_index=True)
    with pytest.raises(errors.MissingExtraError, match=r"pgchroma\[memory\]"):
        pgchroma.PostgresClient(url, settings)


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_server_uses_them_where_the_extra_is_installed(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pgchroma.server.settings.is_extra_installed", lambda extra: is_installed)
    assert ServerSettings().backend_settings().pgchroma_memory_index is is_installed
    for given in (True, False):
        settings = ServerSettings(memory_index=given, memory_index_path=tmp_path)
        assert settings.backend_settings().pgchroma_memory_index is given
        assert settings.backend_settings().pgchroma_memory_index_path == tmp_path
    assert not pgchroma.Settings().pgchroma_memory_index


@pytest.mark.parametrize("order", [("faiss", "onnxruntime"), ("onnxruntime", "faiss")])
def test_native_libraries_of_others_in_the_same_process(order: tuple[str, str]) -> None:
    program = f"""
import importlib
for name in {order!r}:
    importlib.import_module(name)
import numpy as np
from pgchroma.memory.flat_index import FlatIndex
matrix = np.random.default_rng(1).normal(size=(600, 32)).astype(np.float32)
index = FlatIndex.build(matrix, "l2")
assert np.isfinite(matrix @ matrix.T).all()
assert (index.search(matrix[:5], 3)[:, 0] == np.arange(5)).all()
mapped = FlatIndex.mapped(index.serialized(), "l2", index.shortlist)
assert (mapped.search(matrix[:5], 3) == index.search(matrix[:5], 3)).all()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
