"""SPANN as the default index: what collections show, and which settings of HNSW they have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import Schema, SpannIndexConfig, VectorIndexConfig
from pgchroma.errors import InvalidArgumentError
from tests.server_process import running

SHOWN = {
    "search_nprobe": 64, "write_nprobe": 32, "space": "l2", "ef_construction": 200,
    "ef_search": 200, "max_neighbors": 64, "reassign_neighbor_count": 64, "split_threshold": 50,
    "merge_threshold": 25,
}  # fmt: skip


@pytest.fixture(params=["direct", "http"])
def client(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[Any]:
    if request.param == "direct":
        settings = pgchroma.Settings(pgchroma_default_knn_index="spann")
        with pgchroma.PostgresClient(url, settings) as direct:
            yield direct
        return
    environment = {"PGCHROMA_DEFAULT_KNN_INDEX": "spann"}
    with (
        running(tmp_path / "log", "--url", url, "--no-auth", environment=environment) as server,
        pgchroma.HttpClient(server.url) as http,
    ):
        yield http


def _stored(url: str) -> Any:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select configuration from pgchroma.collections").fetchall()
    return rows[0][0]


def test_collections_show_spann_and_have_hnsw(client: Any, url: str) -> None:
    papers = client.create_collection("papers", embedding_function=None)
    assert papers.configuration_json["hnsw"] is None
    assert papers.configuration_json["spann"] == SHOWN
    indexes = papers.schema.serialize_to_json()["keys"]["#embedding"]["float_list"]
    assert indexes["vector_index"]["config"]["spann"]["search_nprobe"] == 64
    assert "hnsw" not in indexes["vector_index"]["config"]
    assert _stored(url)["hnsw"]["ef_search"] == 200
    papers.modify(configuration={"spann": {"search_nprobe": 9, "ef_search": 50}})
    changed = {**SHOWN, "search_nprobe": 9, "ef_search": 50}
    for each in (papers, client.get_collection("papers"), client.list_collections()[0]):
        assert each.configuration_json["spann"] == changed
    assert _stored(url)["hnsw"]["ef_search"] == 50
    with pytest.raises(ValueError, match="Trying to update HNSW config but schema has SPANN"):
        papers.modify(configuration={"hnsw": {"ef_search": 7}})
    papers.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
    assert papers.query(query_embeddings=[1.0], n_results=1)["ids"] == [["a"]]
    assert papers.explain(query_embeddings=[1.0]) is not None


def test_requests_choose_the_index(client: Any) -> None:
    spann = SpannIndexConfig(search_nprobe=16, max_neighbors=24)
    schema = Schema().create_index(VectorIndexConfig(space="cosine", spann=spann))
    of_schema = client.create_collection("of-schema", schema=schema, embedding_function=None)
    for each in (of_schema, client.get_collection("of-schema", embedding_function=None)):
        shown = {**SHOWN, "space": "cosine", "search_nprobe": 16, "max_neighbors": 24}
        assert each.configuration_json["spann"] == shown
    spaced = client.create_collection("spaced", configuration={"hnsw": {"space": "ip"}})
    assert spaced.configuration_json["spann"] == {**SHOWN, "space": "ip"}
    hnsw = client.create_collection("hnsw", configuration={"hnsw": {"max_neighbors": 8}})
    assert hnsw.configuration_json["hnsw"]["max_neighbors"] == 8
    assert hnsw.configuration_json["spann"] is None
    with pytest.raises(InvalidArgumentError, match="search_nprobe"):
        client.create_collection("refused", configuration={"spann": {"search_nprobe": 1_000}})
    assert client.count_collections() == 3
