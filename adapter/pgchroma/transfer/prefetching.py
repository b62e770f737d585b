"""Read ahead in a thread, so that reading and writing overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ("prefetched",)

T = TypeVar("T")

AHEAD: Final = 1
"""How many items wait at most. One more is being read, and one is in use; each is a batch."""

_PATIENCE_SECONDS: Final = 0.1
"""How often the thread checks whether anybody still reads its items."""


class _End:
    """The end of the items, with the error that ended them."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextmanager
def prefetched(items: Iterable[T], ahead: int = AHEAD) -> Generator[Iterator[T], None, None]:
    """Yield an iterator over items that a thread takes from `items`.

    An error of `items` is raised where it would be without the thread. The thread has ended when
    the context ends.

    Args:
        items: What to read.
        ahead: How many items may wait.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(ahead)
    is_left = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, is_left), daemon=True)
    thread.start()
    try:
        yield _taken(waiting)
    finally:
        is_left.set()
        thread.join()


def _fill(items: Iterable[T], waiting: queue.Queue[T | _End], is_left: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(waiting, item, is_left):
                break
    except BaseException as caught:
        error = caught
    finally:
        if isinstance(items, Generator):
            # What it has opened is closed before the context ends.
            items.close()
    _put(waiting, _End(error), is_left)


def _put(waiting: queue.Queue[T | _End], item: T | _End, is_left: threading.Event) -> bool:
    while not is_left.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _taken(waiting: queue.Queue[T | _End]) -> Iterator[T]:
    while True:
        item = waiting.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
