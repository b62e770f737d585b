"""Clients that request large answers and do not read them."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from pgchroma.server.http.unread import PART_BYTES, UnreadAnswers
from tests.server_process import eventually, running

C = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def message(parts: int) -> dict[str, Any]:
    return {"type": "http.response.body", "body": bytes(parts * PART_BYTES - 1)}


async def never(_: Any) -> None:
    await asyncio.Event().wait()


async def test_an_answer_is_sent_in_parts() -> None:
    sent: list[Any] = []

    async def keep(part: Any) -> None:
        sent.append(part)

    unread = UnreadAnswers(30)
    assert await unread.send(message(3), keep)
    assert b"".join(part["body"] for part in sent) == message(3)["body"]
    assert [part["more_body"] for part in sent] == [True, True, False]
    assert (unread._bytes, unread._given_up) == (0, {})


async def test_an_answer_that_is_not_read_is_given_up() -> None:
    unread = UnreadAnswers(0.05)
    assert not await unread.send(message(3), never)
    assert (unread._bytes, unread._given_up) == (0, {})


async def test_the_oldest_is_given_up_when_there_are_too_many() -> None:
    unread = UnreadAnswers(60, max_bytes=8 * PART_BYTES)
    tasks = []
    for _ in range(10):
        tasks.append(asyncio.create_task(unread.send(message(2), never)))
        await asyncio.sleep(0.01)
        assert unread._bytes <= 10 * PART_BYTES
    done = [task.done() for task in tasks]
    assert done == [True] * 6 + [False] * 4
    for task in tasks[6:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (unread._bytes, unread._given_up) == (0, {})


@pytest.mark.heavy
def test_a_server_ends_the_connection_of_who_does_not_read(url: str, tmp_path: Path) -> None:
    environment = {"PGCHROMA_ANSWER_TIMEOUT": "1"}
    arguments = ("--url", url, "--no-auth")
    with (
        running(tmp_path / "log", *arguments, environment=environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        made = http.post(C, json={"name": "papers"}).json()["id"]
        text = "x" * 1_000_000
        for number in range(20):
            body = {"ids": [str(number)], "embeddings": [[1.0]], "documents": [text]}
            http.post(f"{C}/{made}/add", json=body).raise_for_status()
        asked = json.dumps({"include": ["documents"]}).encode()
        head = (
            f"POST {C}/{made}/get HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n"
        )
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(head.encode() + asked)
            eventually(lambda: "did not read its answer" in server.log.read_text())
            slow.settimeout(60)
            received = 0
            try:
                while chunk := slow.recv(1 << 20):
                    received += len(chunk)
            except ConnectionResetError:
                pass
            assert received < 20_000_000
        # The server answers other clients, and answers that are read arrive complete.
        found = http.post(f"{C}/{made}/get", json={"include": ["documents"]}).json()
        assert [len(each) for each in found["documents"]] == [1_000_000] * 20
        assert "Traceback" not in server.log.read_text()
