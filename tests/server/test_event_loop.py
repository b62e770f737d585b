"""No request blocks the event loop, whatever its body contains."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.server.process.worker import create_worker
from pgchroma.server.settings import ServerSettings

pytestmark = pytest.mark.heavy

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"
LARGEST = 40 * 1024 * 1024
"""Bytes of the largest body that a server accepts."""

MAX_SECONDS = 0.05
"""Seconds of its own time that the loop may spend without looking at other requests."""

LARGE = ("documents", "one document", "embeddings in base64", "a filter of one text")
MAX_SEND_SECONDS = 0.15
"""Where forty megabytes go on to PostgreSQL, its library copies them in one go."""

IDEOGRAPHS = [chr(0x4E00 + 2 * number) for number in range(9_000)]


class Monitor:
    """Measures the processor time that the loop's thread spends between two looks at the clock."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - before)


@asynccontextmanager
async def _serving(conninfo: str) -> AsyncIterator[httpx.AsyncClient]:
    """An application in this event loop, and a client of it."""
    settings = ServerSettings(auth=False, compaction=False, url=SecretStr(conninfo))
    with RunDirectory.create() as run_directory:
        application: Any = create_worker(settings, conninfo, run_directory)
        received: asyncio.Queue[Any] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        life = asyncio.create_task(application(scope, received.get, sent.put))
        await received.put({"type": "lifespan.startup"})
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", timeout=90
        ) as http:
            yield http
        await received.put({"type": "lifespan.shutdown"})
        await sent.get()
        await life


def _filled(start: bytes, unit: bytes, end: bytes, size: int = LARGEST) -> bytes:
    """A body of about a size that mostly repeats one part."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def _regex(pattern: str) -> bytes:
    return json.dumps({"where_document": {"$regex": pattern}}).encode()


def _where(where: Any) -> bytes:
    return json.dumps({"where": where}).encode()


def _records(count: int, **columns: Any) -> bytes:
    ids = [f"{number:036}" for number in range(count)]
    return json.dumps({"ids": ids, "embeddings": [[1.0, 2.0]] * count, **columns}).encode()


# Route, body and the expected status. Bodies are made when they are needed.
HOSTILE: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "a class of many members": ("get", lambda: _regex(f"[{''.join(IDEOGRAPHS[:4_500])}]"), 200),
    "a class of too many": ("get", lambda: _regex(f"[{''.join(IDEOGRAPHS)}]" * 2), 400),
    "word boundaries": ("get", lambda: _regex(r"\b" * 12_000), 400),
    "fewer word boundaries": ("get", lambda: _regex(r"\b" * 4_900), 400),
    "properties without case": ("get", lambda: _regex("(?i)" + r"\pL" * 2_000), 400),
    "sets intersected": ("get", lambda: _regex("[" + r"\w&&" * 2_400 + r"\w]"), 400),
    "classes in classes": (
        "get",
        lambda: _regex("(?i)" + "".join(f"[^{c}" for c in IDEOGRAPHS[:240]) + "]" * 240),
        400,
    ),
    "different classes": (
        "get",
        lambda: _regex("".join(rf"[\pL{c}]" for c in IDEOGRAPHS[:1_500])),
        400,
    ),
    "an escaped operator": (
        "get",
        lambda: rb'{"where_document": {"$\u0072egex": "' + b"[a-z]" * 1_900 + b'"}}',
        200,
    ),
    "many patterns": (
        "get",
        lambda: json.dumps(
            {"where_document": {"$or": [{"$regex": f"{c}\\w+"} for c in IDEOGRAPHS]}}
        ).encode(),
        400,
    ),
    "clauses": ("get", lambda: _where({"$or": [{"k": n} for n in range(200_000)]}), 400),
    "clauses of documents": (
        "get",
        lambda: json.dumps(
            {"where_document": {"$and": [{"$contains": "a"}] * 200_000}}
        ).encode(),
        400,
    ),
    "clauses without end": ("get", lambda: _filled(b'{"where":{"$or":[', b'{"$or":[]},', b'{}]}}'),
                            400),
    "the most clauses": ("delete", lambda: _where({"$or": [{"k": n} for n in range(999)]}), 200),
    "operands": ("get", lambda: _filled(b'{"where":{"k":{"$in":[', b'"a",', b'"b"]}}}'), 400),
    "long operands": (
        "query",
        lambda: _filled(
            b'{"query_embeddings":[[1,2]],"where":{"k":{"$in":[', b'"%036d",' % 7, b'"b"]}}}'
        ),
        400,
    ),
    "the most operands": (
        "query",
        lambda: json.dumps(
            {
                "query_embeddings": [[1, 2]],
                "where": {"k": {"$in": [str(n) for n in range(240_000)]}},
            }
        ).encode(),
        200,
    ),
    "a long key of a list": (
        "get",
        lambda: b'{"where":{"' + b"k" * (LARGEST // 2) + b'":{"$in":[1' + b",1" * 200_000 + b"]}}}",
        200,
    ),
    "empty lists": ("get", lambda: _filled(b'{"where":[', b"[],", b"[]]}"), 400),
    "nested lists": ("get", lambda: b'{"where":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", 400),
    "a filter of one text": ("get", lambda: _filled(b'{"where":{"k":"', b"\\u00e9", b'"}}'), 200),
    "ids": ("get", lambda: _filled(b'{"ids":[', b'"a",', b'"b"]}'), 400),
    "the most ids": (
        "get",
        lambda: json.dumps({"ids": [str(number) for number in range(240_000)]}).encode(),
        200,
    ),
    "queries of one number": (
        "query", lambda: _filled(b'{"query_embeddings":[', b"[1],", b"[1]]}"), 400,
    ),
    "a query of many numbers": (
        "query", lambda: _filled(b'{"query_embeddings":[[', b"1,", b"1]]}"), 400,
    ),
    "queries as of a model": (
        "query",
        lambda: _filled(
            b'{"query_embeddings":[',
            json.dumps(np.linspace(0, 1, 384).tolist()).encode() + b",",
            b"[1]]}",
        ),
        400,
    ),
    "numbers for queries": (
        "query", lambda: _filled(b'{"query_embeddings":[', b"1,", b"1]}"), 422,
    ),
    "objects for queries": (
        "query", lambda: _filled(b'{"query_embeddings":[', b"{},", b"{}]}"), 422,
    ),
    "a search of many numbers": (
        "search", lambda: _filled(b'{"searches":[{"rank":{"$knn":{"query":[', b"1,", b"1]}}}]}"),
        400,
    ),
    "a search of the most numbers": (
        "search",
        lambda: json.dumps(
            {"searches": [{"rank": {"$knn": {"query": [0.5] * 550_000}}}]}
        ).encode(),
        400,
    ),
    "a sparse query of many terms": (
        "search",
        lambda: json.dumps(
            {
                "searches": [
                    {
                        "rank": {
                            "$knn": {
                                "query": {"indices": [*range(290_000)], "values": [1] * 290_000},
                                "key": "sparse",
                            }
                        }
                    }
                ]
            }
        ).encode(),
        400,
    ),
    "searches without end": ("search", lambda: _filled(b'{"searches":[', b"{},", b"{}]}"), 400),
    "many searches": ("search", lambda: json.dumps({"searches": [{}] * 200_000}).encode(), 400),
    "nested ranks": (
        "search",
        lambda: b'{"searches":[{"rank":' + b'{"$abs":' * 1_000_000 + b"1" + b"}" * 1_000_003,
        400,
    ),
    "a rank of many operands": (
        "search",
        lambda: json.dumps(
            {"searches": [{"rank": {"$sum": [{"$val": 1}] * 190_000}}]}
        ).encode(),
        400,
    ),
    "many fields": (
        "search",
        lambda: json.dumps(
            {"searches": [{"select": {"keys": [str(n) for n in range(500_000)]}}]}
        ).encode(),
        400,
    ),
    "spaces": ("query", lambda: _filled(b'{"query_embeddings":[', b" ", b"[1,2]]}"), 200),
    "unknown fields": ("get", lambda: _filled(b"{", b'"a":[1],', b'"b":1}'), 200),
    "one field again and again": ("get", lambda: _filled(b"{", b'"where":[],', b'"b":1}'), 422),
    "documents": ("add", lambda: _records(5_000, documents=["x" * 7_500] * 5_000), 201),
    "one document": ("add", lambda: _records(1, documents=["x" * (LARGEST - 1_000)]), 201),
    "short documents": (
        "add", lambda: _filled(b'{"ids":["a"],"embeddings":[[1,2]],"documents":[', b'"",', b'""]}'),
        400,
    ),
    "metadata of many records": (
        "upsert",
        lambda: _records(
            5_000, metadatas=[{f"key {n}": n for n in range(40)} for _ in range(5_000)]
        ),
        200,
    ),
    "metadata of many keys": (
        "upsert", lambda: _records(1, metadatas=[{f"key {n}": n for n in range(200_000)}]), 200,
    ),
    "metadata of a long list": (
        "upsert",
        lambda: _records(1, metadatas=[{"k" * 100_000: [0.5] * 200_000}]), 200,
    ),
    "metadata with a large sparse vector": (
        "upsert",
        lambda: _records(
            1, metadatas=[{"k": {"indices": [*range(290_000)], "values": [0.5] * 290_000}}]
        ),
        200,
    ),
    "metadata without end": (
        "upsert",
        lambda: _filled(
            b'{"ids":["a"],"embeddings":[[1,2]],"metadatas":[', b'{"a":1},', b'{"a":1}]}'
        ),
        400,
    ),
    "nested metadata": (
        "upsert",
        lambda: b'{"ids":["a"],"embeddings":[[1,2]],"metadatas":[{"a":' + b'{"a":' * 500_000,
        400,
    ),
    "embeddings in base64": (
        "add",
        lambda: json.dumps(
            {
                "ids": [str(number) for number in range(5_000)],
                "embeddings": ["AACAPwAAAEA="] * 5_000,
                "documents": ["y" * 7_000] * 5_000,
            }
        ).encode(),
        201,
    ),
    "base64 without end": (
        "add", lambda: _filled(b'{"ids":["a"],"embeddings":["', b"AAAA", b'"]}'), 400,
    ),
    "embeddings that are empty": (
        "add", lambda: _filled(b'{"ids":["a"],"embeddings":[', b'"",', b'""]}'), 400,
    ),
    "a configuration of many keys": (
        "",
        lambda: json.dumps(
            {
                "name": "configured",
                "configuration": {
                    "embedding_function": {
                        "type": "known",
                        "name": "f",
                        "config": {str(number): [number] for number in range(100_000)},
                    }
                },
            }
        ).encode(),
        413,
    ),
    "a schema of many keys": (
        "",
        lambda: json.dumps(
            {
                "name": "schemed",
                "schema": {"defaults": {}, "keys": {str(n): {} for n in range(100_000)}},
            }
        ).encode(),
        413,
    ),
    "a collection's metadata": (
        "", lambda: _filled(b'{"name":"met","metadata":{', b'"a":1,', b'"b":1}}'), 413,
    ),
    "a name": ("", lambda: _filled(b'{"name":"', b"a", b'"}'), 413),
    "a long name": ("", lambda: _filled(b'{"name":"', b"a", b'"}', 900_000), 400),
}  # fmt: skip


async def test_no_body_occupies_the_event_loop(url: str) -> None:
    wrong = {}
    async with _serving(url) as http:
        made = await http.post(C, json={"name": "hostile"})
        assert made.status_code == 200, made.text
        records = f"{C}/{made.json()['id']}"
        for kind, (action, make, status) in HOSTILE.items():
            body = make()
            place = f"{records}/{action}" if action else C
            most = MAX_SEND_SECONDS if kind in LARGE else MAX_SECONDS
            answer, seconds = await _measured(http, place, body)
            for _ in range(0 if seconds <= most or not action else 4):
                # Garbage collection and other processes can only make a measurement longer.
                _, again = await _measured(http, place, body)
                seconds = min(seconds, again)
            is_short = status < 300 or len(answer.content) < 10_000
            if answer.status_code != status or seconds > most or not is_short:
                wrong[kind] = answer.status_code, seconds, answer.text[:200]
    assert not wrong


async def _measured(
    http: httpx.AsyncClient, place: str, body: bytes
) -> tuple[httpx.Response, float]:
    monitor = Monitor()
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.01)
    answer = await http.post(place, content=body, headers={"content-type": "application/json"})
    task.cancel()
    return answer, monitor.longest
