"""Operations answered by a server over HTTP, Chroma's REST API v2."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import httpx
import orjson
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from pgchroma._version import __version__
from pgchroma.backends.parting import encode, is_parted, parted, read_limits
from pgchroma.errors import (
    ChromaError,
    DeadlineExceededError,
    InvalidArgumentError,
    OutcomeUnknownError,
    UnavailableError,
)
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation
from pgchroma.wire.errors import decode_error
from pgchroma.wire.route import PREFIX
from pgchroma.wire.routes import route_of

__all__ = ("AsyncHttpBackend", "Endpoint", "HttpBackend", "InsecureError")

R = TypeVar("R")

ATTEMPTS: Final = 6
"""How often a request is sent that may be sent again: some four seconds for a server to restart."""

MAX_WAIT_SECONDS: Final = 30.0
"""Seconds; a server that asks for more patience than this gets the next attempt earlier."""

_LIMITS_URL = f"{PREFIX}/pre-flight-checks"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how to speak to it.

    Attributes:
        url: Scheme, host, port and whatever of a path stands before ``/api/v2``.
        headers: Sent with every request; a credential may be among them.
        timeout: Seconds that the server may take for an answer.
        verify: Whether its certificate is checked; or the path of the authority's certificate.
        keepalive: Seconds an idle connection is kept.
        connections: The most connections; None for no limit.
        idle_connections: The most that are kept idle; None for no limit.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 120.0
    verify: bool | str = True
    keepalive: float = 40.0
    connections: int | None = None
    idle_connections: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            # httpx's own error would quote the value, which may be a credential.
            if not f"{name}{value}".isascii() or not f"{name}{value}".isprintable():
                raise ValueError(
                    f"the header {name!r} has a character that is not printable ASCII; a line "
                    "break at its end, perhaps"
                )
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"not a server's URL: {error}") from None

    @property
    def place(self) -> str:
        """The URL without a password that may be in it, for messages."""
        return str(httpx.URL(self.url).copy_with(userinfo=b""))

    def options(self) -> dict[str, Any]:
        """Return what httpx's clients are made with."""
        # Names of headers may be in any case, and later ones win.
        headers = httpx.Headers({"user-agent": f"pgchroma/{__version__}"})
        headers.update(dict(self.headers))
        headers["content-type"] = "application/json"
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout, connect=10.0),
            "verify": _context(self.verify),
            "limits": httpx.Limits(
                max_connections=self.connections,
                max_keepalive_connections=self.idle_connections,
                keepalive_expiry=self.keepalive,
            ),
        }


def _context(verify: bool | str) -> bool | ssl.SSLContext:
    if isinstance(verify, bool):
        return verify
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


class HttpBackend:
    """Sends operations to a server."""

    in_caller_transaction = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client = httpx.Client(**endpoint.options())
        self._pid = os.getpid()
        self._limits: Limits | None = None

    def execute(self, operation: Operation[R]) -> R:
        """Have an operation carried out, asking again if the server is away and it does no harm."""
        route = route_of(operation)
        sent = encode(route, operation)
        if is_parted(operation, sent):
            most = self.limits().max_bytes or len(sent[2] or b"")
            for part in parted(route, operation, most):
                body = self._ask(*part, route.is_idempotent)
        else:
            body = self._ask(*sent, route.is_idempotent)
        with _understood(self._endpoint):
            answer: R = route.decode_response(operation, body)
        return answer

    def limits(self) -> Limits:
        """Ask the server, once."""
        if self._limits is None:
            body = self._ask("GET", _LIMITS_URL, None, is_idempotent=True)
            with _understood(self._endpoint):
                self._limits = read_limits(body)
        return self._limits

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        return Retrying(**_policy(is_idempotent))(self._send, method, url, content, is_idempotent)

    def _send(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        _check_open(self._client)
        if os.getpid() != self._pid:
            # A fork's child would speak into its parent's connections.
            self._client = httpx.Client(**self._endpoint.options())
            self._pid = os.getpid()
        with _reached(self._endpoint, is_idempotent):
            response = self._client.request(method, url, content=content)
        return _read(response)


class AsyncHttpBackend:
    """Sends operations to a server; it has a client, with connections, for each event loop."""

    in_caller_transaction = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._options = endpoint.options()
        self._clients: _Clients = WeakKeyDictionary()
        self._lock = Lock()
        self._is_closed = False
        self._limits: Limits | None = None

    async def execute(self, operation: Operation[R]) -> R:
        """Have an operation carried out, asking again if the server is away and it does no harm."""
        route = route_of(operation)
        sent = encode(route, operation)
        if is_parted(operation, sent):
            most = (await self.limits()).max_bytes or len(sent[2] or b"")
            for part in parted(route, operation, most):
                body = await self._ask(*part, route.is_idempotent)
        else:
            body = await self._ask(*sent, route.is_idempotent)
        with _understood(self._endpoint):
            answer: R = route.decode_response(operation, body)
        return answer

    async def limits(self) -> Limits:
        """Ask the server, once."""
        if self._limits is None:
            body = await self._ask("GET", _LIMITS_URL, None, is_idempotent=True)
            with _understood(self._endpoint):
                self._limits = read_limits(body)
        return self._limits

    async def close(self) -> None:
        """Close the connections; those of another loop that runs are closed by it."""
        with self._lock:
            self._is_closed = True
            clients = dict(self._clients)
            self._clients.clear()
        mine = clients.pop(asyncio.get_running_loop(), None)
        for loop, client in clients.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        if mine is not None:
            await mine.aclose()

    async def _ask(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        return await AsyncRetrying(**_policy(is_idempotent))(
            self._send, method, url, content, is_idempotent
        )

    async def _send(self, method: str, url: str, content: bytes | None, is_idempotent: bool) -> Any:
        with _reached(self._endpoint, is_idempotent):
            response = await self._client().request(method, url, content=content)
        return _read(response)

    def _client(self) -> httpx.AsyncClient:
        """Return the running loop's client. Connections belong to the loop that made them."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_closed:
                raise InvalidArgumentError("this client is closed")
            for other in [each for each in self._clients if each.is_closed()]:
                del self._clients[other]
            if loop not in self._clients:
                self._clients[loop] = httpx.AsyncClient(**self._options)
            return self._clients[loop]


_Clients: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]


class InsecureError(UnavailableError, name="InternalError", status=503):
    """The server was reached, but there is no secure connection to it; the message says why."""


class _NotSentError(UnavailableError, name="InternalError", status=503):
    """There was no connection, so nothing can have happened."""


def _check_open(client: httpx.Client) -> None:
    if client.is_closed:
        raise InvalidArgumentError("this client is closed")


@contextmanager
def _understood(endpoint: Endpoint) -> Generator[None, None, None]:
    """Raise what an answer of another shape leads to as what it means."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ChromaError(
            f"what answers at {endpoint.place} is not a server of Chroma's API: its answer has "
            f"another shape ({type(error).__name__}: {error})"
        ) from error


@contextmanager
def _reached(endpoint: Endpoint, is_idempotent: bool) -> Generator[None, None, None]:
    """Raise httpx's faults as errors of the product."""
    try:
        yield
    except httpx.HTTPError as error:
        translated = _translate(error, endpoint)
        if type(translated) is UnavailableError and not is_idempotent:
            # It was sent, or a part of it. Another client may have written since, so sending it
            # again could undo what that one did.
            translated = OutcomeUnknownError(
                f"the answer of the server at {endpoint.place} was lost: {_words_of(error)}. The "
                "write took effect as a whole or not at all; read the records to find out which"
            )
        raise translated from error


def _read(response: httpx.Response) -> Any:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        # Somebody between us and the server, or no server of this kind.
        raise decode_error(response.status_code, response.text, response.headers) from None
    if response.is_success:
        return body
    raise decode_error(response.status_code, body, response.headers)


def _translate(error: httpx.HTTPError, endpoint: Endpoint) -> ChromaError:
    said = _words_of(error)
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return DeadlineExceededError(
            f"the server at {endpoint.place} did not answer within {endpoint.timeout:g} seconds"
        )
    if (insecure := _tls_error(error)) is not None:
        return InsecureError(_tls_message(insecure, endpoint))
    kind = (
        _NotSentError
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        else UnavailableError
    )
    return kind(f"the server at {endpoint.place} cannot be reached: {said}")


def _words_of(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _tls_message(error: ssl.SSLError, endpoint: Endpoint) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server at {endpoint.place} is not trusted: "
            f"{error.verify_message}. Set chroma_server_ssl_verify to the path of its authority's "
            "certificate"
        )
    return (
        f"no secure connection to the server at {endpoint.place}: {error.reason or error}. It may "
        "speak plain HTTP"
    )


def _policy(is_idempotent: bool) -> dict[str, Any]:
    back_off = wait_random_exponential(multiplier=0.1, max=2.0)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, UnavailableError) else 0.0
        return max(back_off(state), min(asked, MAX_WAIT_SECONDS))

    return {
        "retry": retry_if_exception(lambda error: _may_send_again(error, is_idempotent)),
        "stop": stop_after_attempt(ATTEMPTS),
        "wait": wait,
        "reraise": True,
    }


def _may_send_again(error: BaseException, is_idempotent: bool) -> bool:
    if not isinstance(error, UnavailableError) or isinstance(error, InsecureError):
        return False
    return is_idempotent or isinstance(error, _NotSentError) or error.had_no_effect
