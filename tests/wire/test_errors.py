"""Errors that are sent as responses and read again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pgchroma import errors
from pgchroma.errors import ChromaError
from pgchroma.wire.errors import decode_error, encode_error, status_of
from pgchroma.wire.route import encode_json

ARRIVES_AS = {
    errors.InvalidDimensionException: ChromaError,
    errors.DuplicateIDError: ChromaError,
    errors.IDAlreadyExistsError: errors.UniqueConstraintError,
    errors.InvalidUUIDError: ChromaError,
    errors.InvalidHTTPVersion: ChromaError,
    errors.BatchSizeExceededError: ChromaError,
    errors.QuotaError: ChromaError,
    errors.MissingRightError: errors.InternalError,
    errors.PoolExhaustedError: errors.UnavailableError,
    errors.ReadOnlyReplicaError: errors.UnavailableError,
    # No transaction of a caller's goes through a server.
    errors.SerializationError: errors.InternalError,
    # It is raised on the side of the caller.
    errors.EmbeddingError: errors.UnavailableError,
}
"""Errors without a name and a status in Chroma's error table."""

CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ChromaError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_what_it_was(kind: type[ChromaError]) -> None:
    error = kind("it's “so”, \U0001f600")
    body = orjson.loads(encode_json(encode_error(error)))
    assert list(body) == ["error", "message"]
    headers = {"chroma-trace-id": "7" * 32, "retry-after": "3"}
    arrived = decode_error(status_of(error), body, headers)
    assert type(arrived) is ARRIVES_AS.get(kind, kind)
    assert arrived.message() == error.message()
    assert arrived.trace_id == "7" * 32
    if isinstance(arrived, errors.UnavailableError):
        assert arrived.retry_after == 3.0


STATUSES = {
    "AuthorizationError": (403, "ChromaError"),
    "ChromaAuthError": (401, "ChromaError"),
    "ChromaError": (400, "ChromaError"),
    "DeadlineExceededError": (504, "ChromaError"),
    "InternalError": (500, "InternalError"),
    "InvalidArgumentError": (400, "InvalidArgumentError"),
    "MalformedRequestError": (422, "ChromaError"),
    "MissingRightError": (500, "InternalError"),
    "NotFoundError": (404, "NotFoundError"),
    "RateLimitError": (429, "ChromaError"),
    "UnavailableError": (503, "ChromaError"),
    "UnimplementedError": (501, "ChromaError"),
    "UniqueConstraintError": (409, "ChromaError"),
    "VersionMismatchError": (500, "VersionMismatchError"),
}


@pytest.mark.parametrize("name", STATUSES)
def test_an_error_has_chromas_status_and_word(name: str) -> None:
    error = getattr(errors, name)("so")
    assert (status_of(error), encode_error(error)["error"]) == STATUSES[name]


@pytest.mark.parametrize("body", ["", "<html>", None, [], {}, {"error": "NotFoundError"}, 3])
def test_an_answer_that_is_no_error_of_ours_is_shown(body: Any) -> None:
    error = decode_error(418, body, {})
    assert type(error) is ChromaError
    assert "418" in error.message()
    assert error.trace_id is None
