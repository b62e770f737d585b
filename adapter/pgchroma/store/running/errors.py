"""Map PostgreSQL's errors to the product's errors, by SQLSTATE and never by text.

PostgreSQL translates texts, and a distributed PostgreSQL changes them and names of constraints; the
codes stay.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors as pg

from pgchroma.errors import (
    ChromaError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    MissingRightError,
    ReadOnlyReplicaError,
    SerializationError,
    StorageFullError,
    UnavailableError,
    UniqueConstraintError,
)

__all__ = (
    "has_lost_connection",
    "has_lost_statement",
    "is_recovery_conflict",
    "is_retryable",
    "is_serialization_error",
    "mapped_errors",
    "primary_message",
    "reason_of",
    "serialization_error",
    "why_not_indexed",
)

_SERIALIZATION: Final = (pg.SerializationFailure, pg.DeadlockDetected)


_PASSING: Final = (
    *_SERIALIZATION,
    pg.UniqueViolation,
    pg.ForeignKeyViolation,
    pg.UndefinedTable,
    pg.InvalidSchemaName,
)

_UNREACHABLE: Final = (
    psycopg.InterfaceError,
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.DatabaseDropped,
    pg.TooManyConnections,
    pg.InvalidCatalogName,
)


def is_retryable(error: BaseException) -> bool:
    """Whether the same operation may succeed after the collection is looked up again.

    Another writer was faster, or the parent object was just deleted, or a cached table is missing,
    because its collection was deleted or the transaction that created it was rolled back.
    """
    return isinstance(error, _PASSING)


def is_serialization_error(error: BaseException) -> bool:
    """Whether PostgreSQL aborted a transaction in favour of another one."""
    return isinstance(error, _SERIALIZATION)


def serialization_error(error: psycopg.Error) -> SerializationError:
    """Return the error that asks the caller to run the transaction again."""
    sqlstate = str(error.sqlstate) if is_serialization_error(error) else "40001"
    return SerializationError(
        f"another transaction is in the way of this one: {primary_message(error)} (SQLSTATE "
        f"{_sqlstate(error)}). Roll the transaction back and run it again from its beginning",
        sqlstate=sqlstate,
    )


def has_lost_connection(error: BaseException) -> bool:
    """Whether the connection is lost; idle connections may be lost as well."""
    if not isinstance(error, psycopg.Error) or has_lost_statement(error):
        return False
    if isinstance(error, _UNREACHABLE):
        return True
    is_operational = isinstance(error, psycopg.OperationalError)
    return is_operational and (error.sqlstate or "08").startswith(("08", "57P"))


def has_lost_statement(error: BaseException) -> bool:
    """Whether a prepared statement is missing in its session, so that nothing was executed."""
    return isinstance(error, pg.InvalidSqlStatementName | pg.DuplicatePreparedStatement)


def is_recovery_conflict(error: BaseException) -> bool:
    """Whether a standby cancelled a read in order to apply a change of the primary.

    Valid only for reads under read committed, which are not cancelled for another reason.
    """
    return is_serialization_error(error)


def primary_message(error: Exception) -> str:
    """Return the primary message of an error, without its details."""
    diagnosis = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return diagnosis or (str(error).strip().splitlines() or [type(error).__name__])[0]


def reason_of(error: Exception) -> str:
    """Return the reason that PostgreSQL or the operating system gave for an error, in one line."""
    cause = error.__cause__
    return primary_message(cause) if isinstance(cause, Exception) else str(error)


def why_not_indexed(error: Exception) -> str:
    """Return why building an index failed, and what to do about it."""
    text = primary_message(error)
    if isinstance(error, pg.InsufficientPrivilege):
        return f"{text}; only the owner of the tables can index them: run `pgchroma compact` as it"
    return text


@contextmanager
def mapped_errors(address: str = "") -> Generator[None, None, None]:
    """Raise PostgreSQL's errors as errors of the product, with the cause chained.

    Args:
        address: The database, without a password, for the message of a connection that fails before
            libpq knows its address.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, address) from error
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(_unencodable(error)) from error


def _translate(error: psycopg.Error, address: str) -> ChromaError:
    message = primary_message(error)
    if has_lost_connection(error):
        named = " ".join(("the database", _address_tried(error) or address)).strip()
        return UnavailableError(f"{named} cannot be reached: {message}")
    return _client_error(error, message) or _server_error(error, message)


def _address_tried(error: psycopg.Error) -> str:
    """Return user, host, port and database of a failed login, libpq's defaults included."""
    if error.pgconn is None:
        return ""
    tried = (error.pgconn.user, error.pgconn.host, error.pgconn.port, error.pgconn.db)
    user, host, port, name = ((part or b"").decode(errors="replace") for part in tried)
    return f"{user}@{host or 'localhost'}:{port}/{name}"


def _client_error(error: Exception, message: str) -> ChromaError | None:
    """Return the error for a cause that the caller can remove."""
    match error:
        case pg.InsufficientPrivilege():
            return MissingRightError(_missing_right(message))
        case pg.ReadOnlySqlTransaction():
            return ReadOnlyReplicaError(
                f"the database is a read-only replica, or a failover is under way: {message}; "
                "connect to the primary, or try again when there is one"
            )
        case pg.UniqueViolation() | pg.DuplicateTable() | pg.DuplicateSchema():
            return UniqueConstraintError(message)
        case pg.InvalidRegularExpression():
            return InvalidArgumentError(f"Regex syntax error: {message}")
        case psycopg.ProgrammingError(sqlstate=None):
            # libpq quotes what it does not understand, which may be a password.
            return InvalidArgumentError("not a database's URL or connection string")
        case pg.DependentObjectsStillExist():
            return InvalidArgumentError(f"{message}: {_detail(error)}; drop them first")
        case pg.ProgramLimitExceeded() | pg.StatementTooComplex():
            return InvalidArgumentError(f"more than PostgreSQL takes in one request: {message}")
        case _:
            return None


def _server_error(error: Exception, message: str) -> ChromaError:
    """Return the error for a failure of the database."""
    match error:
        case pg.QueryCanceled() | pg.LockNotAvailable():
            return DeadlineExceededError(f"{message}; nothing was changed")
        case psycopg.Error() if has_lost_statement(error):
            return InternalError(
                f"{message}: a pooler such as PgBouncer in transaction mode has lost a prepared "
                "statement; set pgchroma_prepared_statements (on a server prepared_statements) "
                "to false"
            )
        case pg.SerializationFailure() | pg.DeadlockDetected():
            return serialization_error(error)
        case pg.DiskFull():
            return StorageFullError(f"the database's disk is full: {message}; nothing was written")
        case _:
            return InternalError(f"PostgreSQL reports {_sqlstate(error)}: {message}")


def _unencodable(error: UnicodeEncodeError) -> str:
    if error.encoding == "utf-8":
        return "a text has half of a surrogate pair, which PostgreSQL cannot store"
    return (
        f"a text has characters that the connection's encoding {error.encoding} cannot express: "
        "add client_encoding=utf8 to the URL"
    )


def _missing_right(message: str) -> str:
    return (
        f"{message}. The database user lacks a right; `pgchroma grants owner|writer|reader|analyst "
        "USER` prints the statements that grant what each kind of user needs"
    )


def _sqlstate(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or type(error).__name__


def _detail(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_detail or "").split())
