"""The server with a PgBouncer in transaction mode between it and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from tests.server_process import running


def through(bouncer: str, url: str) -> str:
    return make_conninfo(bouncer, dbname=conninfo_to_dict(url)["dbname"])


@pytest.mark.heavy
def test_clients_that_write_and_read_at_once_are_served(
    bouncer: str, url: str, tmp_path: Path
) -> None:
    environment = {"PGCHROMA_MIGRATIONS": "validate"}
    arguments = ("--url", through(bouncer, url), "--no-auth")
    with (
        running(tmp_path / "log", *arguments, environment=environment) as server,
        pgchroma.HttpClient(server.url) as client,
    ):
        collection = client.create_collection("papers")

        def work(worker: int) -> int:
            ids = [f"{worker}-{number}" for number in range(20)]
            for _ in range(5):
                collection.upsert(ids=ids, embeddings=np.eye(20) + worker)
                collection.query(query_embeddings=[[1.0] * 20], n_results=3)
                collection.get(where_document={"$regex": "x"})
            return len(collection.get(ids=ids)["ids"])

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [20] * 8
        assert collection.count() == 160
