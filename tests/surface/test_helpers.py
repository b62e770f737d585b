"""Chroma's helpers: batches, distances, data frames, older configurations."""

from __future__ import annotations

import numpy as np
import pytest

import pgchroma as chromadb
from pgchroma.api.configuration import CollectionConfigurationInterface, HNSWConfiguration
from pgchroma.api.models.Collection import Collection
from pgchroma.utils.batch_utils import create_batches
from pgchroma.utils.distance_functions import cosine, ip, l2
from pgchroma.utils.results import get_result_to_df, query_result_to_dfs


class Limited:
    def get_max_batch_size(self) -> int:
        return 2


def test_records_are_split_into_batches() -> None:
    batches = create_batches(Limited(), ["a", "b", "c"], documents=["1", "2", "3"])
    assert batches == [
        (["a", "b"], None, None, ["1", "2"]),
        (["c"], None, None, ["3"]),
    ]
    assert create_batches(Limited(), []) == [([], None, None, None)]


def test_distances_are_those_of_queries() -> None:
    x, y = np.array([1.0, 0.0], np.float32), np.array([0.0, 2.0], np.float32)
    assert l2(x, y) == pytest.approx(5.0)
    assert cosine(x, y) == pytest.approx(1.0)
    assert cosine(x, np.zeros(2, np.float32)) == 1.0
    assert ip(x, y) == 1.0


@pytest.mark.database
def test_results_become_data_frames() -> None:
    client = chromadb.EphemeralClient()
    collection = client.create_collection("frames", embedding_function=None)
    try:
        assert isinstance(collection, Collection)
        collection.add(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], [{"k": 1}, {"k": 2}], ["x", "y"])
        frame = get_result_to_df(collection.get(include=["embeddings", "documents", "metadatas"]))
        assert list(frame.index) == ["a", "b"]
        assert list(frame.columns) == ["embedding", "document", "metadata"]
        assert frame.loc["b", "embedding"] == [0.0, 1.0]
        nearest, _ = query_result_to_dfs(collection.query([[1.0, 0.0], [0.0, 1.0]], n_results=1))
        assert nearest.loc["a", "distance"] == 0.0
        assert nearest.loc["a", "document"] == "x"
    finally:
        client.delete_collection("frames")
        client.close()


@pytest.mark.database
def test_configurations_of_older_versions_are_taken() -> None:
    configuration = CollectionConfigurationInterface(HNSWConfiguration(space="cosine", M=24))
    with chromadb.EphemeralClient() as client:
        collection = client.create_collection("older", configuration=configuration)
        hnsw = collection.configuration_json["hnsw"]
        client.delete_collection("older")
    assert (hnsw["space"], hnsw["max_neighbors"]) == ("cosine", 24)


def test_a_client_is_made_by_the_settings_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgchroma.client.factories._configured", None)
    chromadb.configure(anonymized_telemetry=True)
    assert chromadb.get_settings().anonymized_telemetry
