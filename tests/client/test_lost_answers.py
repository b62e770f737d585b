"""Writes over HTTP whose answer is lost while another client writes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

import pgchroma
from pgchroma import errors

Ask = Callable[[Any], Any]

WRITES: dict[str, Ask] = {
    "add": lambda c: c.add(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"by": "first"}]),
    "upsert": lambda c: c.upsert(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"by": "first"}]),
    "update": lambda c: c.update(ids=["a"], metadatas=[{"by": "first"}]),
}


class Losing:
    """A proxy that forwards requests and loses the answer to the first write."""

    def __init__(self, port: int) -> None:
        self.requests = 0
        self.answered = threading.Event()
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", self._upstream)) as upstream:
            while request := _message(connection):
                upstream.sendall(request)
                answer = _message(upstream)
                if any(f"/{name} ".encode() in request for name in WRITES):
                    self.requests += 1
                    if not self.answered.is_set():
                        self.answered.set()
                        return
                connection.sendall(answer)


def _message(connection: socket.socket) -> bytes:
    """Read a request or a response, its body included."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(1 << 16)):
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    length = int(found[1]) if found else 0
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@contextmanager
def losing(url: str) -> Iterator[Losing]:
    with closing(Losing(int(url.rsplit(":", 1)[1]))) as proxy:
        yield proxy


@pytest.mark.parametrize("name", WRITES)
def test_a_write_takes_effect_once(name: str, emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as other, losing(emptied) as proxy:
        theirs = other.create_collection("papers", embedding_function=None)
        if name == "update":
            theirs.add(ids=["a"], embeddings=[[1.0, 2.0]])
        with pgchroma.HttpClient(proxy.url) as client:
            ours = client.get_collection("papers", embedding_function=None)
            with pytest.raises(errors.OutcomeUnknownError, match="was lost"):
                WRITES[name](ours)
        assert theirs.get()["metadatas"] == [{"by": "first"}]
        assert proxy.requests == 1
        theirs.delete(ids=["a"])
        assert theirs.count() == 0


async def test_a_write_takes_effect_once_for_an_event_loop(emptied: str) -> None:
    with losing(emptied) as proxy:
        async with await pgchroma.AsyncHttpClient(proxy.url) as client:
            ours = await client.create_collection("papers", embedding_function=None)
            with pytest.raises(errors.OutcomeUnknownError):
                await ours.upsert(ids=["a"], embeddings=[[1.0, 2.0]])
            assert await ours.count() == 1
        assert proxy.requests == 1
