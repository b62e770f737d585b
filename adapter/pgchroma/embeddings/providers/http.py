"""Embedding functions whose provider is asked over HTTP, and what its answers mean.

httpx is used and not the vendors' packages: retries, rate limits and concurrency are then the same
for all, and nothing has to be installed.
"""

from __future__ import annotations

import os
import threading
import weakref
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pgchroma.embeddings.batched import BatchedEmbeddingFunction
from pgchroma.embeddings.protocol import Embeddable
from pgchroma.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

__all__ = ("HttpEmbeddingFunction", "ask", "field")

D = TypeVar("D", bound=Embeddable)

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

_SHOWN = 500
"""Characters of an answer that a message shows."""


class HttpEmbeddingFunction(BatchedEmbeddingFunction[D]):
    """Embeds by requests to a provider; a subclass writes `embed_batch` with `post`."""

    concurrency: ClassVar[int] = 8
    most_bytes: ClassVar[int | None] = 1_000_000

    usual_variable: ClassVar[str | None] = None
    """The environment variable with the key that the vendor's own programs read."""

    def post(self, url: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Send JSON and return the answer's.

        Raises:
            EmbeddingError: There was no answer, or it was none of success, or no JSON.
        """
        return ask(self.name(), url, body, headers, self.options.timeout)


def ask(name: str, url: str, body: Any, headers: Mapping[str, str] | None, timeout: float) -> Any:
    """Send JSON to a provider and return the JSON of its answer.

    Args:
        name: What messages call the provider.
        url: Where to; never with a key in it, as it may be logged.
        body: What is sent.
        headers: What goes along; they hold the key and are shown nowhere.
        timeout: Seconds it may take.

    Raises:
        EmbeddingError: There was no answer, or it was none of success, or no JSON.
    """
    import httpx  # noqa: PLC0415

    try:
        response = _clients.get().post(url, json=body, headers=headers, timeout=timeout)
    except (httpx.TimeoutException, httpx.TransportError) as fault:
        reason = f"{type(fault).__name__} {fault}".strip()
        raise EmbeddingError(f"{name} did not answer: {reason}", is_transient=True) from fault
    except httpx.InvalidURL as fault:
        raise EmbeddingError(f"{name} has no URL that can be asked: {fault}") from fault
    if not response.is_success:
        raise EmbeddingError(
            f"{name} refused with status {response.status_code}: {response.text[:_SHOWN]}",
            is_transient=response.status_code in _TRANSIENT,
            retry_after=_retry_after(response),
        )
    try:
        return response.json()
    except ValueError as fault:
        raise EmbeddingError(
            f"{name} answered something that is no JSON: {response.text[:_SHOWN]}"
        ) from fault


def field(name: str, answer: Any, *path: str | int) -> Any:
    """Take what an answer has at a path, such as ``"data", 0, "embedding"``.

    Raises:
        EmbeddingError: It has nothing there; the message shows the answer.
    """
    found = answer
    for key in path:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError) as fault:
            raise EmbeddingError(
                f"{name} answered without {'.'.join(map(str, path))}: {answer!r:.{_SHOWN}}"
            ) from fault
    return found


def _retry_after(response: httpx.Response) -> float | None:
    """Read the seconds to wait: a number, or the time until a date (RFC 9110, 10.2.3)."""
    if (millis := response.headers.get("retry-after-ms", "")).isdecimal():
        return int(millis) / 1000
    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


class _Clients:
    """One client for all functions of this process, so that connections are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def get(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                import httpx  # noqa: PLC0415

                limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
                self._client = httpx.Client(limits=limits, follow_redirects=False)
                weakref.finalize(self, self._client.close)
            return self._client

    def forget(self) -> None:
        """Begin anew in a forked child, which may not talk over its parent's connections."""
        self._lock = threading.Lock()
        self._client = None


_clients = _Clients()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.forget)
