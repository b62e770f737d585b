"""A provider on this machine: a real HTTP server that gives scripted answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ("Answer", "Provider", "Request", "serving", "vector_of")


@dataclass
class Request:
    """A request of a function.

    Attributes:
        path: With the query string.
        headers: By names in lower case.
        body: The JSON that was sent.
    """

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """An answer of the provider; encoded as JSON unless it is text."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Provider:
    """A running server.

    Attributes:
        url: Without a slash at its end.
        speaks: Answers the requests that `first` does not answer.
        first: The answers to the first requests, in order.
        requests: All requests received.
        most_at_once: The largest number of requests in progress at one time.
    """

    url: str
    speaks: Callable[[Request], Answer]
    first: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            answer = self.first.pop(0) if self.first else None
        answer = answer or self.speaks(request)
        time.sleep(answer.seconds)
        with self._lock:
            self._now -= 1
        return answer


def vector_of(text: Any, length: int = 3) -> list[float]:
    """The embedding that this provider returns for a text: integers in the range of int8."""
    seed = sum(n * ord(letter) for n, letter in enumerate(str(text)[:100], start=1)) % 113
    return [float(seed + n) for n in range(length)]


@contextmanager
def serving(speaks: Callable[[Request], Answer]) -> Iterator[Provider]:
    """Run a provider until the context exits."""
    provider = Provider("", speaks)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or the second awaits a delayed answer

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            answer = provider.answer(Request(self.path, headers, body))
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:
                """The client has given up."""

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
