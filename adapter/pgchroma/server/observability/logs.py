"""Logs on standard error: text for people, JSON for programs, without users' data.

Log lines contain no records, no queries and no credentials. PostgreSQL's messages quote rows, and
Python's errors quote values, so only parts of an exception that quote no data are logged: its type,
its traceback, and messages that are known to be safe.
"""

from __future__ import annotations

import logging
import logging.config
import sys
import threading
import traceback
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from pythonjsonlogger.orjson import OrjsonFormatter

from pgchroma.backends.redaction import postgres_message, sqlstate_of
from pgchroma.errors import ChromaError
from pgchroma.server.observability.log_handler import BATCHED, BatchingHandler

__all__ = (
    "AccessRecord",
    "JsonFormatter",
    "TextFormatter",
    "configure_logs",
    "log_configuration",
    "log_request",
    "log_uncaught",
    "redacted_message",
)

_requests = logging.getLogger(BATCHED)
_uncaught = logging.getLogger("pgchroma.server")


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """A request that was answered.

    Attributes:
        operation: The id of the operation in the OpenAPI document; empty for an unknown path.
        path: The raw path, without the query string.
        status: The HTTP status; 499 if the client disconnected before there was one.
        bytes: The length of the response's body.
        received: The length of the request's body; 0 if it was not measured.
        caller: The name of the credential.
        trace_id: The trace the request is part of; zeros without a trace.
    """

    operation: str
    method: str
    path: str
    status: int
    seconds: float
    bytes: int
    received: int
    caller: str
    client: str
    trace_id: str


def log_request(record: AccessRecord) -> None:
    """Log a request."""
    _requests.info("%s %s %d", record.method, record.path, record.status, extra={"access": record})


def log_configuration(form: Literal["json", "text"], level: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`; every process has the same."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"foreign": {"()": _FirstLine}},
        "formatters": {"chosen": {"()": JsonFormatter if form == "json" else TextFormatter}},
        "handlers": {
            "stderr": {
                "()": BatchingHandler,
                "formatter": "chosen",
                "filters": ["foreign"],
            }
        },
        # Only warnings and errors of other libraries.
        "root": {"level": "WARNING" if level == "info" else level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "pgchroma": {"level": level.upper()},
            # It warns of each malformed request, of which a client may send many.
            "uvicorn.error": {"level": "ERROR"},
        },
    }


def configure_logs(form: Literal["json", "text"], level: str) -> None:
    """Configure logging in this process, also of what Python itself writes to standard error."""
    logging.config.dictConfig(log_configuration(form, level))
    log_uncaught()


def log_uncaught() -> None:
    """Log warnings and uncaught exceptions."""
    logging.captureWarnings(True)
    sys.excepthook = lambda _, error, __: _uncaught.critical("uncaught exception", exc_info=error)
    threading.excepthook = lambda found: _uncaught.critical(
        "uncaught exception in a thread", exc_info=found.exc_value
    )


def redacted_message(error: BaseException) -> str:
    """Return the type of an exception, and its message if that quotes no data."""
    name = type(error).__name__
    if sqlstate := sqlstate_of(error):
        name = f"{name} {sqlstate}"
    message = _message(error)
    return f"{name}: {message}" if message else name


class TextFormatter(logging.Formatter):
    """Formats records as lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """Add duration, size, caller and trace to the line of a request."""
        access: AccessRecord | None = getattr(record, "access", None)
        line = _printable(super().formatMessage(record))
        if access is None:
            return line
        caller = f" {access.caller!r}" if access.caller else ""
        trace = f" trace {access.trace_id}" if access.trace_id.strip("0") else ""
        return f"{line} {access.seconds * 1000:.1f} ms {access.bytes} bytes{caller}{trace}"

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Format a traceback without users' data."""
        return "\n".join(_traced(ei[1]))


def _printable(line: str) -> str:
    """Escape characters that control a terminal or the order in which it shows text."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in line
    )


class JsonFormatter(OrjsonFormatter):
    """Formats records as JSON objects, one a line."""

    _renamed: ClassVar[dict[str, str]] = {
        "asctime": "time",
        "levelname": "level",
        "name": "logger",
        "exc_info": "traceback",
    }

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S%z",
            rename_fields=self._renamed,
            rename_fields_keep_missing=False,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the attributes of a request as fields."""
        access: AccessRecord | None = log_data.pop("access", None)
        if access is not None:
            fields = asdict(access)
            fields["milliseconds"] = round(fields.pop("seconds") * 1000, 2)
            log_data.update(fields)
        return log_data

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Format a traceback without users' data."""
        return "\n".join(_traced(ei[1]))


class _FirstLine(logging.Filter):
    """Cuts other libraries' messages after the first line: the rest may be a whole exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("pgchroma"):
            record.msg, record.args = record.getMessage().partition("\n")[0], ()
        return True


def _traced(error: BaseException | None) -> Generator[str, None, None]:
    while error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} {frame.name}: {frame.line}"
        yield redacted_message(error)
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield "with"
                yield from _traced(each)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            yield "caused by"
        error = cause


_SAFE_TYPES = (
    AttributeError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
)
"""Exceptions whose messages name types, files and code, but quote no values."""


def _message(error: BaseException) -> str:
    message = postgres_message(error)
    if message is not None:
        return message
    if isinstance(error, ChromaError):
        is_telling = error.__cause__ is None or bool(_message(error.__cause__))
        return error.message() if is_telling else ""
    return str(error) if isinstance(error, _SAFE_TYPES) else ""
