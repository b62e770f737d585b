"""Faults as responses: Chroma's statuses and bodies, nothing of our insides."""

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
"""Seconds after which a client may try again; a database that restarts takes about that."""

_INTERNAL = 500

PLAIN_TEXT_ERRORS = ("collection_add", "collection_update", "collection_upsert", "collection_query")
"""Where Chroma says of a body that it is too large in plain text, and not in JSON."""


class PayloadTooLargeError(ChromaError, name="ChromaError", status=413):
    """The body is larger than the server takes."""


class UnsupportedMediaTypeError(ChromaError, name="ChromaError", status=415):
    """The body is said to be something other than JSON."""


class ForeignHostError(ChromaError, name="ChromaError", status=403):
    """The request is addressed to a host that a server without credentials does not answer for."""


class ForeignOriginError(ChromaError, name="ChromaError", status=403):
    """A web page of another origin has made the request."""


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON, or a kind of it."""
    kind = content_type.split(";", 1)[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def json_response(content: Any, status: int = 200) -> Response[bytes]:
    """Answer with JSON."""
    return Response(encode_json(content), status_code=status, media_type=MediaType.JSON)


def _on_error(request: Request[Any, Any, Any], error: ChromaError) -> Response[bytes]:
    status = status_of(error)
    if isinstance(error, UnavailableError | DeadlineExceededError):
        _log.warning("answered %d: %s", status, redacted_message(error))
    elif isinstance(error, MissingRightError):
        # The message has the grant; where in our code PostgreSQL refused is of no use to anybody.
        _log.error("answered %d: %s", status, redacted_message(error))
    elif status >= _INTERNAL and not isinstance(error, UnimplementedError):
        # The cause goes to the log, where the operator looks, and not to whoever asked.
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
    # Nothing here goes as deep but what a request makes it follow.
    return _on_error(request, InvalidArgumentError("the request nests too deep"))


def _presentable(error: ChromaError) -> ChromaError:
    """Say no more to strangers than they need: PostgreSQL names hosts, users and databases."""
    if isinstance(error, PoolExhaustedError):
        return UnavailableError("the server has too much to do; try again later")
    if isinstance(error, ReadOnlyReplicaError):
        return ReadOnlyReplicaError(
            "the database is a read-only replica, or a failover is under way; try again later"
        )
    if isinstance(error, OutcomeUnknownError):
        return OutcomeUnknownError(
            "the database went away while it carried out this write; it took effect as a whole or "
            "not at all"
        )
    if isinstance(error, UnavailableError):
        return UnavailableError("the database cannot be reached; the server's log has more")
    if isinstance(error, StorageFullError):
        return StorageFullError(
            "the database's disk is full; nothing was written. Reads and deletes go on"
        )
    if isinstance(error, MissingRightError):
        return MissingRightError(
            "the server's own account lacks a right in the database that this request takes; the "
            "server's log has the grant"
        )
    if isinstance(error, InternalError):
        return InternalError("internal error; the server's log has more")
    return error


def _on_unknown_path(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return Response(b"", status_code=404)


def _on_unknown_method(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return Response(
        b"", status_code=405, headers={"allow": allowed(request.app, request.scope["path"])}
    )


def allowed(app: Litestar, path: str) -> str:
    """Return the methods of a path, which may have several handlers: the header ``Allow``."""
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
