"""Errors on the wire: the status codes that JavaScript goes by and the words that Python does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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

__all__ = ("EFFECT", "decode_error", "effect_of", "encode_error", "status_of")

EFFECT: Final = "pgchroma-effect"
"""The header of an answer with 503 that says what became of the request: ``none``, ``unknown``."""

# The classes' own numbers are the other way round here: Chroma's, kept for whoever reads them.
_STATUSES: Final[dict[type[ChromaError], int]] = {AuthorizationError: 403, ChromaAuthError: 401}

_NAMED: Final = (
    InvalidArgumentError,
    NotFoundError,
    InternalError,
    OutcomeUnknownError,
    VersionMismatchError,
)
"""What has a word of its own; everything else is a ``ChromaError``."""

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
"""What a ``ChromaError`` was before it went through the wire."""


def status_of(error: ChromaError) -> int:
    """Return the HTTP status an error is sent with."""
    return _STATUSES.get(type(error), error.code())


def effect_of(error: UnavailableError) -> str:
    """Return what the header `EFFECT` says of a request that could not be carried out."""
    return "unknown" if isinstance(error, OutcomeUnknownError) else "none"


def encode_error(error: ChromaError) -> dict[str, str]:
    """Return the body an error is sent as."""
    is_away = isinstance(error, UnavailableError) and not isinstance(error, OutcomeUnknownError)
    is_named = isinstance(error, _NAMED) and not (is_away or isinstance(error, StorageFullError))
    return {"error": error.name() if is_named else "ChromaError", "message": error.message()}


def decode_error(status: int, body: Any, headers: Mapping[str, str]) -> ChromaError:
    """Return the error that a response stands for.

    Args:
        status: The HTTP status.
        body: The parsed JSON of the response, or its text if it is none.
        headers: The response's headers.
    """
    name, message = _read(status, body)
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


def _read(status: int, body: Any) -> tuple[str, str]:
    if isinstance(body, dict) and "message" in body:
        return str(body.get("error")), str(body["message"])
    # Somebody between us and the server, or a path the server does not have.
    return "", f"the server answered with HTTP status {status}: {str(body)[:500]}"
