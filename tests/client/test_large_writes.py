"""Writes over HTTP: as many records as a client may write are taken, however long they are."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

import pgchroma
from pgchroma import errors
from tests.server_process import running


@pytest.mark.heavy
def test_a_write_that_is_too_long_for_one_request_is_parted(emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as client:
        made = client.create_collection("wide", embedding_function=None)
        count = client.get_max_batch_size()
        random = np.random.default_rng(1)
        embeddings = random.normal(size=(count, 1_536)).astype(np.float32)
        ids = [f"{number:06}" for number in range(count)]
        made.add(ids=ids, embeddings=embeddings, documents=["x" * 100] * count)
        assert made.count() == count
        last = made.get(ids=ids[-1:], include=["embeddings"])["embeddings"]
        assert last is not None
        assert np.array_equal(last, embeddings[-1:])


@pytest.mark.heavy
async def test_parts_write_what_the_whole_would(url: str, tmp_path: Path) -> None:
    limits = {"PGCHROMA_MAX_PAYLOAD_SIZE_BYTES": str(1_100_000)}
    arguments = ("--url", url, "--no-auth")
    with running(tmp_path / "log", *arguments, environment=limits) as server:
        told = httpx.get(f"{server.url}/api/v2/pre-flight-checks").json()
        assert told["max_payload_size_bytes"] == 1_100_000
        client = await pgchroma.AsyncHttpClient(server.url)
        made = await client.create_collection("papers", embedding_function=None)
        ids = [f"id{number}" for number in range(60)]
        vectors = [[float(number), 1.0] for number in range(60)]
        texts = [chr(97 + number % 26) * 50_000 for number in range(60)]
        await made.add(ids=ids, embeddings=vectors, documents=texts)
        found = await made.get(include=["documents", "embeddings"])
        assert (found["ids"], found["documents"]) == (ids, texts)
        assert found["embeddings"] is not None
        assert np.array_equal(found["embeddings"], vectors)
        await made.update(ids=ids, documents=texts[::-1], embeddings=vectors[::-1])
        await made.upsert(ids=ids[:30], embeddings=vectors[:30], documents=texts[:30])
        found = await made.get()
        assert found["documents"] == texts[:30] + texts[::-1][30:]
        with pytest.raises(errors.BatchSizeExceededError, match=r"the record is sent as .* bytes"):
            await made.add(ids="long", embeddings=[1.0, 2.0], documents="x" * 2_000_000)
        await client.close()
