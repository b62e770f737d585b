"""Read and prepare the records of a source in another process.

Python executes one thread of a process at a time. A reader in a thread takes its time from the
thread that writes, and reading Chroma's directories is much work in Python.
"""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from pgchroma.errors import InternalError
from pgchroma.transfer.preparing import Prepared, Preparer
from pgchroma.transfer.source import Source, SourceCollection

__all__ = ("MIN_RECORDS", "Opener", "Reopenable", "read_elsewhere")

MIN_RECORDS: Final = 20_000
"""The number of records from which on a process is started. A start takes about a second."""

_PIPE_BYTES: Final = 1 << 20
"""What Linux lets a process without privileges choose at most, unless configured otherwise."""

Opener: TypeAlias = Callable[[], Source]


@runtime_checkable
class Reopenable(Protocol):
    """A source that another process may open, too."""

    def opener(self) -> Opener | None:
        """Return what creates the same source in another process, or `None` if nothing does.

        It can be pickled.
        """
        ...


def read_elsewhere(
    opener: Opener, collection: SourceCollection, size: int, preparer: Preparer
) -> Iterator[Prepared]:
    """Yield the records of a collection, which another process reads and prepares.

    It is one or two batches ahead. It ends with the iterator, or with this process.

    Args:
        opener: Creates the source.
        collection: The collection.
        size: How many records a batch has at most.
        preparer: Prepares batches.

    Raises:
        ChromaError: The source changed or could not be read any further.
    """
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    _widen(sending)
    process = context.Process(
        target=_serve, args=(sending, opener, collection.key, size, preparer), daemon=True
    )
    process.start()
    # The other end must have no other holder, or its end would not be noticed.
    sending.close()
    try:
        while (item := _received(receiving)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        receiving.close()
        process.terminate()
        process.join()


def _widen(pipe: Connection) -> None:
    """Let a pipe take as much at once as it may.

    Each read waits for the threads that write. A batch is several megabytes, and a pipe has 64 KiB.
    """
    with suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415  (not on Windows)

        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _received(receiving: Connection) -> Any:
    try:
        return receiving.recv()
    except EOFError:
        raise InternalError("the process that reads the source has ended") from None


def _serve(sending: Connection, opener: Opener, key: str, size: int, preparer: Preparer) -> None:
    """Send prepared batches, then `None`; or the error that ended the reading."""
    # Ctrl-C in a terminal reaches both processes; the other one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        try:
            with opener() as source:
                collection = next(each for each in source.collections() if each.key == key)
                for batch in source.batches(collection, size):
                    sending.send(preparer.prepare(batch))
        except BrokenPipeError:
            raise
        except Exception as error:
            sending.send(_sendable(error))
        else:
            sending.send(None)


def _sendable(error: Exception) -> Exception:
    """Return an error that can be pickled."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301  (its own)
        return error
    return InternalError(f"{type(error).__name__}: {error}")
