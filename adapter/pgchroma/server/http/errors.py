"""Errors as responses: Chroma's statuses and bodies, without internal details."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Litestar, Request, Response
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
from pgchroma.server.http.answers import Answer, json_answer
from pgchroma.server.observability.logs import redacted_message
from pgchroma.wire.errors import EFFECT, effect_of, encode_error, status_of

__all__ = (
    "EXCEPTION_HANDLERS",
    "PLAIN_TEXT_ERRORS",
    "ForeignHostError",
    "ForeignOriginError",
    "PayloadTooLargeError",
    "UnsupportedMediaTypeError",
    "allowed",
    "answer_to",
    "is_json",
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


def answer_to(error: Exception, operation: str = "") -> Answer:
    """Return the answer to an error, and log what the operator has to know.

    Args:
        error: The error; any but those of Litestar.
        operation: The id of the operation that failed; empty for an unknown path.
    """
    match error:
        case PayloadTooLargeError() if operation in PLAIN_TEXT_ERRORS:
            return Answer(413, b"Payload too large", content_type="")
        case ChromaError():
            return _answer_to(error)
        case RecursionError():
            # Only nested requests cause such a deep recursion.
            return _answer_to(InvalidArgumentError("the request is nested too deeply"))
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return json_answer(encode_error(_presentable(InternalError())), _INTERNAL)


def _answer_to(error: ChromaError) -> Answer:
    status = status_of(error)
    if isinstance(error, UnavailableError | DeadlineExceededError):
        _log.warning("answered %d: %s", status, redacted_message(error))
    elif isinstance(error, MissingRightError):
        # The message has the missing grant; a traceback would not help.
        _log.error("answered %d: %s", status, redacted_message(error))
    elif status >= _INTERNAL and not isinstance(error, UnimplementedError):
        # The cause goes to the log, for the operator, and not to the caller.
        _log.error("answered %d", status, exc_info=error)
    answer = json_answer(encode_error(_presentable(error)), status)
    if isinstance(error, UnavailableError):
        answer.headers[EFFECT] = effect_of(error)
    if isinstance(error, UnavailableError | RateLimitError):
        answer.headers["retry-after"] = (
            f"{error.retry_after:.0f}" if error.retry_after else RETRY_AFTER
        )
    if status == 401:  # noqa: PLR2004
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    route: Any = request.scope.get("route_handler")
    return answer_to(error, getattr(route, "operation_id", None) or "").to_response()


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
    answer = answer_to(RateLimitError("Too many requests; backoff and try again"))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    answer.headers.update(headers)
    answer.headers["retry-after"] = headers.get("ratelimit-reset", RETRY_AFTER)
    return answer.to_response()


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    body = {"error": "ChromaError", "message": error.detail}
    return json_answer(body, error.status_code).to_response()


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    NotFoundException: _on_unknown_path,
    MethodNotAllowedException: _on_unknown_method,
    TooManyRequestsException: _on_rate_limit,
    HTTPException: _on_http_exception,
    Exception: _on_error,
}
