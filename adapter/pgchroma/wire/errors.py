"""Errors as responses: the status codes that JavaScript clients use and the names for Python's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from pgchroma.errors import (
    AuthorizationError,
    ChromaAuthError,
    ChromaError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    MalformedRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    StorageFullError,
    UnavailableError,
    UnimplementedError,
    UniqueConstraintError,
    VersionMismatchError,
)

__all__ = ("EFFECT", "ErrorBody", "decode_error", "effect_of", "encode_error", "status_of")

EFFECT: Final = "pgchroma-effect"
"""The header of a response with 503: whether the request had an effect, ``none`` or ``unknown``."""

# The codes of the classes have these two the other way round. They are Chroma's, and stay for code
# that reads them.
_STATUSES: Final[dict[type[ChromaError], int]] = {AuthorizationError: 403, ChromaAuthError: 401}

_NAMED: Final = (
    InvalidArgumentError,
    NotFoundError,
    InternalError,
    OutcomeUnknownError,
    VersionMismatchError,
)
"""The classes that are sent by name. All others are sent as ``ChromaError``."""

_BY_NAME: Final = {kind.name(): kind for kind in _NAMED}

_BY_STATUS: Final[dict[int, type[ChromaError]]] = {
    401: ChromaAuthError,
    403: AuthorizationError,
    409: UniqueConstraintError,
    422: MalformedRequestError,
    429: RateLimitError,
    501: UnimplementedError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineExceededError,
    507: StorageFullError,
}
"""The class of an error that was sent as ``ChromaError``, by its status."""


class ErrorBody(Struct):
    """An error: its name for programs and its message for people."""

    error: str
    message: str


def status_of(error: ChromaError) -> int:
    """Return the HTTP status an error is sent with."""
    return _STATUSES.get(type(error), error.code())


def effect_of(error: UnavailableError) -> str:
    """Return the value of the header `EFFECT` for an error."""
    return "unknown" if isinstance(error, OutcomeUnknownError) else "none"


def encode_error(error: ChromaError) -> dict[str, str]:
    """Return the body of an error's response."""
    had_no_effect = isinstance(error, UnavailableError) and not isinstance(
        error, OutcomeUnknownError
    )
    is_named = isinstance(error, _NAMED) and not (
        had_no_effect or isinstance(error, StorageFullError)
    )
    return {"error": error.name() if is_named else "ChromaError", "message": error.message()}


def decode_error(status: int, body: Any, headers: Mapping[str, str]) -> ChromaError:
    """Return the error of a response.

    Args:
        status: The HTTP status.
        body: The parsed JSON of the response, or its text if it is not JSON.
        headers: The response's headers.
    """
    name, message = _parse_body(status, body)
    kind = _BY_NAME.get(name) or _BY_STATUS.get(status, ChromaError)
    effect = headers.get(EFFECT)
    if issubclass(kind, UnavailableError) and effect == "unknown":
        kind = OutcomeUnknownError
    error = kind(message)
    error.trace_id = headers.get("chroma-trace-id")
    if isinstance(error, UnavailableError):
        error.had_no_effect = effect == "none"
    if isinstance(error, UnavailableError | RateLimitError):
        error.retry_after = _seconds(headers.get("retry-after", ""))
    return error


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


def _parse_body(status: int, body: Any) -> tuple[str, str]:
    if isinstance(body, dict) and "message" in body:
        return str(body.get("error")), str(body["message"])
    # A proxy answered, or the server does not have the path.
    return "", f"the server answered with HTTP status {status}: {str(body)[:500]}"
