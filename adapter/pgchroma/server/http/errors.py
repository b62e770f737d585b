"""Errors as responses: Chroma's statuses and bodies, without internal details."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Litestar, MediaType, Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    TooManyRequestsException,
)

from pgchroma.errors import (
    ChromaError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    MissingRightError,
    OutcomeUnknownError,
    PoolExhaustedError,
    RateLimitError,
    ReadOnlyReplicaError,
    StorageFullError,
    UnavailableError,
    UnimplementedError,
)
from pgchroma.server.observability.logs import redacted_message
from pgchroma.wire.errors import EFFECT, effect_of, encode_error, status_of
from pgchroma.wire.route import encode_json

__all__ = (
    "EXCEPTION_HANDLERS",
    "PLAIN_TEXT_ERRORS",
    "ForeignHostError",
    "ForeignOriginError",
    "PayloadTooLargeError",
    "UnsupportedMediaTypeError",
    "allowed",
    "is_json",
    "json_response",
)

_log = logging.getLogger("pgchroma.server")

RETRY_AFTER = "1"
"""Seconds after which a client may retry; a restart of the database takes about as long."""

_INTERNAL = 500

PLAIN_TEXT_ERRORS = ("collection_add", "collection_update", "collection_upsert", "collection_query")
"""Operations for which Chroma answers 413 in plain text instead of JSON."""


class PayloadTooLargeError(ChromaError, name="ChromaError", status=413):
    """The body is larger than the server accepts."""


class UnsupportedMediaTypeError(ChromaError, name="ChromaError", status=415):
    """The body's content type is not JSON."""


class ForeignHostError(ChromaError, name="ChromaError", status=403):
    """The request is addressed to a host that a server without authentication does not serve."""


class ForeignOriginError(ChromaError, name="ChromaError", status=403):
    """The request was made by a web page of another origin."""


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON, or based on JSON."""
    kind = content_type.split(";", 1)[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def json_response(content: Any, status: int = 200) -> Response[bytes]:
    """Return a response with JSON."""
    return Response(encode_json(content), status_code=status, media_type=MediaType.JSON)


def _on_error(request: Request[Any, Any, Any], error: ChromaError) -> Response[bytes]:
    status = status_of(error)
    if isinstance(error, UnavailableError | DeadlineExceededError):
        _log.warning("answered %d: %s", status, redacted_message(error))
    elif isinstance(error, MissingRightError):
        # The message has the missing grant; a traceback would not help.
        _log.error("answered %d: %s", status, redacted_message(error))
    elif status >= _INTERNAL and not isinstance(error, UnimplementedError):
        # The cause goes to the log, for the operator, and not to the caller.
        _log.error("answered %d", status, exc_info=error)
    response = json_response(encode_error(_presentable(error)), status)
    if isinstance(error, UnavailableError):
        response.headers[EFFECT] = effect_of(error)
    if isinstance(error, UnavailableError | RateLimitError):
        response.headers["retry-after"] = (
            f"{error.retry_after:.0f}" if error.retry_after else RETRY_AFTER
        )
    if status == 401:  # noqa: PLR2004
        response.headers["www-authenticate"] = "Bearer"
    return response


def _on_large_body(request: Request[Any, Any, Any], error: ChromaError) -> Response[Any]:
    route: Any = request.route_handler
    if route.operation_id in PLAIN_TEXT_ERRORS:
        return Response(b"Payload too large", status_code=413, headers={"content-type": ""})
    return _on_error(request, error)


def _on_depth(request: Request[Any, Any, Any], error: RecursionError) -> Response[bytes]:
    # Only nested requests cause such a deep recursion.
    return _on_error(request, InvalidArgumentError("the request is nested too deeply"))


def _presentable(error: ChromaError) -> ChromaError:
    """Return the error without PostgreSQL's message, which names hosts, users and databases."""
    if isinstance(error, PoolExhaustedError):
        return UnavailableError("the server is overloaded; retry later")
    if isinstance(error, ReadOnlyReplicaError):
        return ReadOnlyReplicaError(
            "the database is a read-only replica, or a failover is under way; retry later"
        )
    if isinstance(error, OutcomeUnknownError):
        return OutcomeUnknownError(
            "the connection to the database was lost during this write, which was applied either "
            "completely or not at all"
        )
    if isinstance(error, UnavailableError):
        return UnavailableError("the database is unavailable; see the server's log")
    if isinstance(error, StorageFullError):
        return StorageFullError(
            "the database's disk is full; nothing was written. Reads and deletes still work"
        )
    if isinstance(error, MissingRightError):
        return MissingRightError(
            "the server's database user lacks a privilege that this request requires; see the "
            "server's log for the grant"
        )
    if isinstance(error, InternalError):
        return InternalError("internal error; see the server's log")
    return error


def _on_unknown_path(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return Response(b"", status_code=404)


def _on_unknown_method(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return Response(
        b"", status_code=405, headers={"allow": allowed(request.app, request.scope["path"])}
    )


def allowed(app: Litestar, path: str) -> str:
    """Return the header ``Allow`` of a path, which may have several handlers."""
    asked = path.split("/")
    methods: set[str] = set()
    for route in app.routes:
        parts = route.path.split("/")
        is_rest = parts[-1].endswith(":path}")
        if (is_rest or len(parts) == len(asked)) and all(
            part == given or part.startswith("{") for part, given in zip(parts, asked, strict=False)
        ):
            methods |= getattr(route, "methods", set())
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def _on_rate_limit(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    response = _on_error(request, RateLimitError("Too many requests; backoff and try again"))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    response.headers.update(headers)
    response.headers["retry-after"] = headers.get("ratelimit-reset", RETRY_AFTER)
    return response


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    body = {"error": "ChromaError", "message": error.detail}
    return json_response(body, error.status_code)


def _on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return json_response(encode_error(_presentable(InternalError())), _INTERNAL)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    PayloadTooLargeError: _on_large_body,
    ChromaError: _on_error,
    NotFoundException: _on_unknown_path,
    MethodNotAllowedException: _on_unknown_method,
    TooManyRequestsException: _on_rate_limit,
    HTTPException: _on_http_exception,
    RecursionError: _on_depth,
    Exception: _on_unexpected,
}
