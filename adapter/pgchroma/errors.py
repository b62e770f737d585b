"""The errors a caller can meet, under Chroma's own class names.

    ChromaError                        400
    ├── InvalidArgumentError           400   a malformed request, filter, name or configuration
    ├── InvalidDimensionException      400   a vector's length is not the collection's
    ├── DuplicateIDError               400   the same id twice in one call
    ├── IDAlreadyExistsError           409   an id is taken
    ├── InvalidUUIDError               400   not a UUID
    ├── InvalidHTTPVersion             400   the server speaks another protocol
    ├── BatchSizeExceededError         413   more records than one call may carry
    ├── QuotaError                     400   a limit set by the operator
    ├── MalformedRequestError          422   JSON of a shape that the request does not have
    ├── NotFoundError                  404   a tenant, database or collection does not exist
    ├── UniqueConstraintError          409   a name is taken
    ├── AuthorizationError             401   not allowed
    ├── ChromaAuthError                403   not known
    ├── RateLimitError                 429   too many requests
    ├── EmbeddingError                 502   an embedding function's provider failed
    ├── UnimplementedError             501   a feature that is not there
    ├── DeadlineExceededError          504   a request lasted too long and was given up
    ├── InternalError                  500   our fault or the database's; the cause is chained
    │   ├── UnavailableError           503   the database cannot be reached; trying again may help
    │   │   ├── PoolExhaustedError     503   every connection of the pool is in use
    │   │   ├── ReadOnlyReplicaError   503   a write, on a standby or during a failover
    │   │   └── OutcomeUnknownError    503   the answer to a write was lost; it may be done
    │   ├── StorageFullError           507   the disk has no room for a write; nothing was written
    │   ├── SerializationError         500   a transaction has to be run again from its beginning
    │   └── MissingRightError          500   a right is missing; the message has the grant
    └── VersionMismatchError           500   schema and code disagree; the message has the remedy

    MissingExtraError                    a package of an extra is not installed: not a ChromaError

`name` is the error's word, `status` its number, both as Chroma's classes have them; what a server
sends is in `pgchroma.wire.errors`.
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
    """Any error of Chroma's family; catch this to catch them all."""

    _name: ClassVar[str] = "ChromaError"
    _status: ClassVar[int] = 400
    trace_id: str | None = None

    def __init_subclass__(cls, *, name: str, status: int, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._name, cls._status = name, status
        error_types.setdefault(name, cls)

    @classmethod
    def name(cls) -> str:
        """The word that stands for this error on the wire."""
        return cls._name

    def code(self) -> int:
        """The HTTP status that goes with this error."""
        return self._status

    def message(self) -> str:
        """What happened, in a sentence."""
        return ", ".join(str(arg) for arg in self.args)


error_types: dict[str, type[ChromaError]] = {"ChromaError": ChromaError}
"""Wire name to class; a name shared by a family maps to its root."""


class InvalidArgumentError(ChromaError, name="InvalidArgumentError", status=400):
    """A malformed request, filter, name or configuration."""


class InvalidDimensionException(ChromaError, name="InvalidDimension", status=400):  # noqa: N818
    """A vector's length is not the collection's."""


class DuplicateIDError(ChromaError, name="DuplicateID", status=400):
    """The same id stands twice in one call."""


class IDAlreadyExistsError(ChromaError, name="IDAlreadyExists", status=409):
    """An id is taken."""


class InvalidUUIDError(ChromaError, name="InvalidUUID", status=400):
    """A text that should be a UUID is none."""


class InvalidHTTPVersion(ChromaError, name="InvalidHTTPVersion", status=400):  # noqa: N818
    """The server speaks another version of the protocol."""


class BatchSizeExceededError(ChromaError, name="BatchSizeExceededError", status=413):
    """More records than one call may carry."""


class QuotaError(ChromaError, name="QuotaError", status=400):
    """A limit set by the operator was reached."""


class MalformedRequestError(ChromaError, name="ChromaError", status=422):
    """A request is JSON, but not of the shape it should have."""


class NotFoundError(ChromaError, name="NotFoundError", status=404):
    """A tenant, database or collection does not exist."""


class UniqueConstraintError(ChromaError, name="UniqueConstraintError", status=409):
    """A name is taken."""


class AuthorizationError(ChromaError, name="AuthorizationError", status=401):
    """The caller may not do this."""


class ChromaAuthError(ChromaError, name="AuthError", status=403):
    """The caller is not known."""


class RateLimitError(ChromaError, name="RateLimitError", status=429):
    """Too many requests; wait before the next.

    Attributes:
        retry_after: Seconds to wait, where they are known.
    """

    retry_after: float = 0.0


class EmbeddingError(ChromaError, name="ChromaError", status=502):
    """What makes embeddings could not, or made something else.

    Attributes:
        is_transient: Whether trying again may help.
        retry_after: Seconds that the provider asked to wait.
    """

    def __init__(
        self, message: str, *, is_transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.is_transient = is_transient
        self.retry_after = retry_after


class UnimplementedError(ChromaError, NotImplementedError, name="ChromaError", status=501):
    """A feature is not there. It is a `NotImplementedError`, too, which Chroma's clients raise."""


class DeadlineExceededError(ChromaError, name="ChromaError", status=504):
    """A request lasted too long and was given up.

    Where the server gave it up it may have taken effect; where PostgreSQL did, nothing was changed.
    """


class InternalError(ChromaError, name="InternalError", status=500):
    """A fault of ours or of the database; the cause is chained."""


class UnavailableError(InternalError, name="InternalError", status=503):
    """The database, or the server, cannot be reached; trying again may help.

    Attributes:
        retry_after: Seconds that a server asked to wait.
        had_no_effect: Whether a server said that nothing was changed, so that even a write may be
            sent again.
    """

    retry_after: float = 0.0
    had_no_effect: bool = False


class PoolExhaustedError(UnavailableError, name="InternalError", status=503):
    """Every connection of the pool stayed in use for as long as a call may wait for one."""


class ReadOnlyReplicaError(UnavailableError, name="InternalError", status=503):
    """The database is a read-only replica, or became one in a failover; nothing was changed."""


class OutcomeUnknownError(UnavailableError, name="OutcomeUnknownError", status=503):
    """The connection was lost after a write was sent and before its answer came.

    The write took effect as a whole or not at all. Read the records to find out which, or repeat
    the write if repeating it does no harm.
    """


class StorageFullError(InternalError, name="InternalError", status=507):
    """The disk has no room for a write, and nothing was written; reads and deletes go on."""


class SerializationError(InternalError, name="InternalError", status=500):
    """A concurrent transaction is in the way of this one: roll it back and run it again.

    In a transaction of the caller's, at repeatable read or serializable or after a deadlock, trying
    the call again cannot succeed. PostgreSQL's fault is the cause.

    Attributes:
        sqlstate: PostgreSQL's code: 40001 for a serialization failure, 40P01 for a deadlock.
    """

    def __init__(self, message: str, *, sqlstate: str = "40001") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class MissingRightError(InternalError, name="InternalError", status=500):
    """The database user lacks a right; the message names it and the grant that mends it."""


class VersionMismatchError(ChromaError, name="VersionMismatchError", status=500):
    """Schema and code disagree; the message has the command that brings them together."""


class MissingExtraError(ImportError, ValueError):
    """A package is missing that an extra of pgchroma installs; the message has the command.

    It is an `ImportError`, which Python raises for a missing package, and a `ValueError`, which
    Chroma raises for one.
    """
