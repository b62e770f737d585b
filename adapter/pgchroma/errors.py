"""The errors that pgchroma raises, under Chroma's own class names.

    ChromaError                        400
    ├── InvalidArgumentError           400   a malformed request, filter, name or configuration
    ├── InvalidDimensionException      400   a vector's length differs from the collection's
    ├── DuplicateIDError               400   the same id twice in one call
    ├── IDAlreadyExistsError           409   an id is taken
    ├── InvalidUUIDError               400   not a UUID
    ├── InvalidHTTPVersion             400   the server speaks another protocol
    ├── BatchSizeExceededError         413   more records than one call may have
    ├── QuotaError                     400   a limit set by the operator
    ├── MalformedRequestError          422   JSON that does not match the schema
    ├── NotFoundError                  404   a tenant, database or collection does not exist
    ├── UniqueConstraintError          409   a name is taken
    ├── AuthorizationError             401   permission denied
    ├── ChromaAuthError                403   authentication failed
    ├── RateLimitError                 429   too many requests
    ├── EmbeddingError                 502   an embedding function's provider failed
    ├── UnimplementedError             501   an unsupported feature
    ├── DeadlineExceededError          504   a request took too long and was cancelled
    ├── InternalError                  500   an error of pgchroma or the database; see its cause
    │   ├── UnavailableError           503   the database is unavailable; retry later
    │   │   ├── PoolExhaustedError     503   every connection of the pool is in use
    │   │   ├── ReadOnlyReplicaError   503   a write, on a standby or during a failover
    │   │   └── OutcomeUnknownError    503   the answer to a write was lost; it may be committed
    │   ├── StorageFullError           507   the disk has no space for a write; nothing was written
    │   ├── SerializationError         500   the caller must run its transaction again
    │   └── MissingRightError          500   a privilege is missing; the message has the grant
    └── VersionMismatchError           500   schema and code differ; the message has the command

    MissingExtraError                    a package of an extra is not installed: not a ChromaError

`name` and `status` are those of Chroma's classes; `pgchroma.wire.errors` has what a server sends.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = (
    "AuthorizationError",
    "BatchSizeExceededError",
    "ChromaAuthError",
    "ChromaError",
    "DeadlineExceededError",
    "DuplicateIDError",
    "EmbeddingError",
    "IDAlreadyExistsError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidDimensionException",
    "InvalidHTTPVersion",
    "InvalidUUIDError",
    "MalformedRequestError",
    "MissingExtraError",
    "MissingRightError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PoolExhaustedError",
    "QuotaError",
    "RateLimitError",
    "ReadOnlyReplicaError",
    "SerializationError",
    "StorageFullError",
    "UnavailableError",
    "UnimplementedError",
    "UniqueConstraintError",
    "VersionMismatchError",
    "error_types",
)


class ChromaError(Exception):
    """The base class of all errors; catch it to catch them all."""

    _name: ClassVar[str] = "ChromaError"
    _status: ClassVar[int] = 400
    trace_id: str | None = None

    def __init_subclass__(cls, *, name: str, status: int, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._name, cls._status = name, status
        error_types.setdefault(name, cls)

    @classmethod
    def name(cls) -> str:
        """Return the error's name on the wire."""
        return cls._name

    def code(self) -> int:
        """Return the error's HTTP status."""
        return self._status

    def message(self) -> str:
        """Return the message."""
        return ", ".join(str(arg) for arg in self.args)


error_types: dict[str, type[ChromaError]] = {"ChromaError": ChromaError}
"""The classes by wire name; if several classes share a name, it maps to their base class."""


class InvalidArgumentError(ChromaError, name="InvalidArgumentError", status=400):
    """A malformed request, filter, name or configuration."""


class InvalidDimensionException(ChromaError, name="InvalidDimension", status=400):  # noqa: N818
    """A vector's length differs from the collection's."""


class DuplicateIDError(ChromaError, name="DuplicateID", status=400):
    """The same id occurs twice in one call."""


class IDAlreadyExistsError(ChromaError, name="IDAlreadyExists", status=409):
    """An id is taken."""


class InvalidUUIDError(ChromaError, name="InvalidUUID", status=400):
    """A string is not a UUID."""


class InvalidHTTPVersion(ChromaError, name="InvalidHTTPVersion", status=400):  # noqa: N818
    """The server speaks another version of the protocol."""


class BatchSizeExceededError(ChromaError, name="BatchSizeExceededError", status=413):
    """More records than one call may have."""


class QuotaError(ChromaError, name="QuotaError", status=400):
    """A limit set by the operator was reached."""


class MalformedRequestError(ChromaError, name="ChromaError", status=422):
    """A request is JSON, but does not match the schema."""


class NotFoundError(ChromaError, name="NotFoundError", status=404):
    """A tenant, database or collection does not exist."""


class UniqueConstraintError(ChromaError, name="UniqueConstraintError", status=409):
    """A name is taken."""


class AuthorizationError(ChromaError, name="AuthorizationError", status=401):
    """The caller lacks the permission."""


class ChromaAuthError(ChromaError, name="AuthError", status=403):
    """The caller could not be authenticated."""


class RateLimitError(ChromaError, name="RateLimitError", status=429):
    """Too many requests; wait before the next one.

    Attributes:
        retry_after: Seconds to wait; 0 if unknown.
    """

    retry_after: float = 0.0


class EmbeddingError(ChromaError, name="ChromaError", status=502):
    """An embedding function failed, or returned something other than embeddings.

    Attributes:
        is_transient: Whether a retry may succeed.
        retry_after: Seconds that the provider asked to wait.
    """

    def __init__(
        self, message: str, *, is_transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.is_transient = is_transient
        self.retry_after = retry_after


class UnimplementedError(ChromaError, NotImplementedError, name="ChromaError", status=501):
    """A feature is not supported. Also a `NotImplementedError`, which Chroma's clients raise."""


class DeadlineExceededError(ChromaError, name="ChromaError", status=504):
    """A request took too long and was cancelled.

    If the server cancelled it, it may have taken effect; if PostgreSQL did, nothing was changed.
    """


class InternalError(ChromaError, name="InternalError", status=500):
    """An error of pgchroma or of the database, which is the exception's cause."""


class UnavailableError(InternalError, name="InternalError", status=503):
    """The database or the server is unavailable; a retry may succeed.

    Attributes:
        retry_after: Seconds that the server asked to wait; 0 if unknown.
        had_no_effect: Whether the server reported that nothing was changed, so that even a write
            may be retried.
    """

    retry_after: float = 0.0
    had_no_effect: bool = False


class PoolExhaustedError(UnavailableError, name="InternalError", status=503):
    """All connections of the pool stayed in use for the time that a call may wait for one."""


class ReadOnlyReplicaError(UnavailableError, name="InternalError", status=503):
    """The database is a read-only replica, or became one in a failover; nothing was changed."""


class OutcomeUnknownError(UnavailableError, name="OutcomeUnknownError", status=503):
    """The connection was lost after a write was sent and before its answer came.

    The write took effect as a whole or not at all. Read the records to find out which, or repeat
    the write if repeating it does no harm.
    """


class StorageFullError(InternalError, name="InternalError", status=507):
    """The disk has no space for a write, and nothing was written; reads and deletes still work."""


class SerializationError(InternalError, name="InternalError", status=500):
    """The caller's transaction conflicts with a concurrent one: roll it back and run it again.

    It is raised in the caller's own transaction, at repeatable read or serializable or after a
    deadlock, where a retry of the call alone cannot succeed. PostgreSQL's error is the cause.

    Attributes:
        sqlstate: PostgreSQL's code: 40001 for a serialization failure, 40P01 for a deadlock.
    """

    def __init__(self, message: str, *, sqlstate: str = "40001") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class MissingRightError(InternalError, name="InternalError", status=500):
    """The database user lacks a privilege; the message names it and the necessary grant."""


class VersionMismatchError(ChromaError, name="VersionMismatchError", status=500):
    """The versions of schema and code differ; the message has the command to run."""


class MissingExtraError(ImportError, ValueError):
    """A package of an extra of pgchroma is not installed; the message has the command to run.

    It is an `ImportError`, as Python raises for a missing package, and a `ValueError`, as Chroma
    does.
    """
