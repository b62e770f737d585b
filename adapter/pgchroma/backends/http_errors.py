"""Errors of requests over HTTP: what they mean, and which requests are sent again."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import orjson
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from pgchroma.backends.endpoint import Endpoint
from pgchroma.errors import (
    ChromaError,
    DeadlineExceededError,
    OutcomeUnknownError,
    UnavailableError,
)
from pgchroma.wire.errors import decode_error

__all__ = ("InsecureError", "decode_errors", "read_response", "retry_policy", "transport_errors")

ATTEMPTS: Final = 6
"""The maximum number of attempts to send a request: some four seconds for a server to restart."""

MAX_WAIT_SECONDS: Final = 30.0
"""If a server asks to wait longer than this, the next attempt comes earlier."""


class InsecureError(UnavailableError, name="InternalError", status=503):
    """The server was reached, but the connection is not secure; the message says why."""


class RequestNotSent(UnavailableError, name="InternalError", status=503):  # noqa: N818
    """There was no connection, so the server cannot have received the request."""


@contextmanager
def decode_errors(endpoint: Endpoint) -> Generator[None, None, None]:
    """Raise the errors of decoding an answer of another shape as an error of the product."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ChromaError(
            f"what answers at {endpoint.address} is not a server of Chroma's API: its answer has "
            f"another shape ({type(error).__name__}: {error})"
        ) from error


@contextmanager
def transport_errors(endpoint: Endpoint, is_idempotent: bool) -> Generator[None, None, None]:
    """Raise httpx's errors as errors of the product."""
    try:
        yield
    except httpx.HTTPError as error:
        mapped = _map(error, endpoint)
        if type(mapped) is UnavailableError and not is_idempotent:
            # The request was sent, at least in part. Another client may have written since, and
            # sending the request again could undo that write.
            mapped = OutcomeUnknownError(
                f"the answer of the server at {endpoint.address} was lost: {_reason_of(error)}. "
                "The write took effect as a whole or not at all; read the records to find out which"
            )
        raise mapped from error


def read_response(response: httpx.Response) -> Any:
    """Return the body of a successful response.

    Raises:
        ChromaError: The server answered with an error.
    """
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        # The answer is from a proxy, or from another kind of server.
        raise decode_error(response.status_code, response.text, response.headers) from None
    if response.is_success:
        return body
    raise decode_error(response.status_code, body, response.headers)


def _map(error: httpx.HTTPError, endpoint: Endpoint) -> ChromaError:
    reason = _reason_of(error)
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return DeadlineExceededError(
            f"the server at {endpoint.address} did not answer within {endpoint.timeout:g} seconds"
        )
    if (insecure := _tls_error(error)) is not None:
        return InsecureError(_tls_message(insecure, endpoint))
    kind = (
        RequestNotSent
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        else UnavailableError
    )
    return kind(f"the server at {endpoint.address} cannot be reached: {reason}")


def _reason_of(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _tls_message(error: ssl.SSLError, endpoint: Endpoint) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server at {endpoint.address} is not trusted: "
            f"{error.verify_message}. Set chroma_server_ssl_verify to the path of its authority's "
            "certificate"
        )
    return (
        f"no secure connection to the server at {endpoint.address}: {error.reason or error}. It "
        "may speak plain HTTP"
    )


def retry_policy(is_idempotent: bool) -> dict[str, Any]:
    """Return how often and when a request is sent again; for tenacity."""
    back_off = wait_random_exponential(multiplier=0.1, max=2.0)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after if isinstance(error, UnavailableError) else 0.0
        return max(back_off(state), min(asked, MAX_WAIT_SECONDS))

    return {
        "retry": retry_if_exception(lambda error: _is_resent(error, is_idempotent)),
        "stop": stop_after_attempt(ATTEMPTS),
        "wait": wait,
        "reraise": True,
    }


def _is_resent(error: BaseException, is_idempotent: bool) -> bool:
    if not isinstance(error, UnavailableError) or isinstance(error, InsecureError):
        return False
    return is_idempotent or isinstance(error, RequestNotSent) or error.had_no_effect
