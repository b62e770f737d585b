"""Numbers in a configuration are checked against bounds, whatever their source."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from tests.server_process import Server

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"

MOST: Any = {
    "ef_construction": 100_000,
    "ef_search": 100_000,
    "max_neighbors": 10_000,
    "num_threads": 10_000,
    "batch_size": 2**31 - 1,
    "sync_threshold": 2**31 - 1,
    "resize_factor": 1_000_000,
}
LEGACY = {
    "ef_construction": "hnsw:construction_ef",
    "ef_search": "hnsw:search_ef",
    "max_neighbors": "hnsw:M",
    "num_threads": "hnsw:num_threads",
    "batch_size": "hnsw:batch_size",
    "sync_threshold": "hnsw:sync_threshold",
    "resize_factor": "hnsw:resize_factor",
}


def _use(collection: pgchroma.Collection) -> None:
    collection.upsert(ids=["a", "b"], embeddings=[[1, 2], [2, 1]], metadatas=[{"k": 1}, {"k": 2}])
    assert collection.count() == 2
    assert collection.query(query_embeddings=[1, 2], n_results=1)["ids"] == [["a"]]
    found = collection.query(query_embeddings=[1, 2], n_results=1, where={"k": 2})
    assert found["ids"] == [["b"]]
    assert collection.get_indexing_status().total_ops >= 2
    assert collection.explain(query_embeddings=[1, 2]).rows_read >= 2


@pytest.mark.parametrize("name", MOST)
@pytest.mark.parametrize("beyond", [1, 2**31, 2**63, 2**70])
def test_a_number_beyond_its_bound_is_refused(
    name: str, beyond: int, client: pgchroma.ClientAPI, emptied: str
) -> None:
    value = MOST[name] + beyond
    configuration: Any = {"hnsw": {name: value}}
    made = client.create_collection("papers", embedding_function=None)
    for refused in (
        lambda: client.create_collection("x-1", configuration=configuration),
        lambda: client.create_collection("x-1", metadata={LEGACY[name]: min(value, 2**63 - 1)}),
        lambda: made.modify(configuration=configuration),
    ):
        with pytest.raises((errors.InvalidArgumentError, TypeError)) as caught:
            refused()
        assert len(str(caught.value)) < 400
    with httpx.Client(base_url=emptied) as http:
        for body in (
            {"name": "x-1", "configuration": {"hnsw": {name: value}}},
            {"name": "x-1", "metadata": {LEGACY[name]: min(value, 2**63 - 1)}},
        ):
            answer = http.post(C, json=body)
            assert answer.status_code in (400, 422), answer.text
        assert http.get(C).json() == []


def test_the_greatest_values_do_no_harm(client: pgchroma.ClientAPI, emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as http:
        for place in (client, http):
            made = place.create_collection("papers", configuration={"hnsw": MOST})
            _use(made)
            changed: Any = {key: value for key, value in MOST.items() if key != "ef_construction"}
            made.modify(configuration={"hnsw": changed})
            _use(place.get_collection("papers"))


def test_numpys_numbers_are_numbers(client: pgchroma.ClientAPI) -> None:
    hnsw: Any = {"ef_search": np.int64(33), "space": np.str_("ip")}
    hnsw["resize_factor"] = np.float32(1.5)
    made = client.create_collection("papers", configuration={"hnsw": hnsw})
    assert made.configuration_json["hnsw"]["ef_search"] == 33
    assert client.get_collection("papers").configuration_json["hnsw"]["space"] == "ip"


@pytest.mark.parametrize("value", [2**31, 2**63 - 1, 0, -5])
def test_a_bad_value_that_is_stored_is_brought_into_bounds(
    value: int, client: pgchroma.ClientAPI, connection: psycopg.Connection[object]
) -> None:
    _use(client.create_collection("papers", embedding_function=None))
    _store(connection, value)
    client._backend._context.forget()  # type: ignore[attr-defined]
    found = client.get_collection("papers")
    hnsw = found.configuration_json["hnsw"]
    assert hnsw["ef_search"] == min(max(value, 1), MOST["ef_search"])
    assert hnsw["sync_threshold"] == min(max(value, 2), MOST["sync_threshold"])
    _use(found)
    found.modify(configuration={"hnsw": {"ef_search": 50}})
    assert client.list_collections()[0].configuration_json["hnsw"]["ef_search"] == 50


def test_a_server_serves_what_is_stored(open_server: Server, emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as client:
        _use(client.create_collection("papers", embedding_function=None))
        with psycopg.connect(open_server.conninfo, autocommit=True) as connection:
            _store(connection, 2**31)
        _use(client.get_collection("papers"))


def _store(connection: psycopg.Connection[object], value: int) -> None:
    connection.execute(
        """
        update pgchroma.collections set configuration = jsonb_set(
            configuration, '{hnsw}', configuration -> 'hnsw' || jsonb_build_object(
                'ef_search', %(n)s::bigint, 'sync_threshold', %(n)s::bigint,
                'max_neighbors', %(n)s::bigint, 'ef_construction', %(n)s::bigint,
                'num_threads', %(n)s::bigint, 'batch_size', %(n)s::bigint
            )
        )
        """,
        {"n": value},
    )
