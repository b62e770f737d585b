# Generated from _async/http.py by tools/unasync.py; edit that and run `make fmt`.
"""A backend on a server: sends operations over HTTP, as Chroma's REST API v2."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from tenacity import Retrying

from pgchroma.backends._sync.http_clients import HttpClients
from pgchroma.backends.endpoint import Endpoint
from pgchroma.backends.http_errors import (
    decode_errors,
    read_response,
    retry_policy,
    transport_errors,
)
from pgchroma.backends.parting import encode, is_parted, parted, read_limits
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation
from pgchroma.wire.route import PREFIX
from pgchroma.wire.routes import route_of

__all__ = ("HttpBackend",)

R = TypeVar("R")

_LIMITS_URL: Final = f"{PREFIX}/pre-flight-checks"


class HttpBackend:
    """Sends operations to a server."""

    in_caller_transaction = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients = HttpClients(endpoint)
        self._limits: Limits | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is, and how connections to it are made."""
        return self._endpoint

    def execute(self, operation: Operation[R]) -> R:
        """Have the server execute an operation; retry if it is away and a retry does no harm."""
        route = route_of(operation)
        sent = encode(route, operation)
        if is_parted(operation, sent):
            max_bytes = (self.limits()).max_bytes or len(sent[2] or b"")
            for part in parted(route, operation, max_bytes):
                body = self._request(*part, route.is_idempotent)
        else:
            body = self._request(*sent, route.is_idempotent)
        with decode_errors(self._endpoint):
            answer: R = route.decode_response(operation, body)
        return answer

    def limits(self) -> Limits:
        """Return the server's limits; it is asked once."""
        if self._limits is None:
            body = self._request("GET", _LIMITS_URL, None, is_idempotent=True)
            with decode_errors(self._endpoint):
                self._limits = read_limits(body)
        return self._limits

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def _request(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        policy = retry_policy(is_idempotent)
        return Retrying(**policy)(self._send, method, url, content, is_idempotent)

    def _send(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        client = self._clients.current()
        with transport_errors(self._endpoint, is_idempotent):
            response = client.request(method, url, content=content)
        return read_response(response)
