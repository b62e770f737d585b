"""Calls on one connection of the caller's take turns, whichever of its clients makes them.

A call is several messages to PostgreSQL, in a savepoint of its own. Those of two calls must not
mix.
"""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakKeyDictionary

__all__ = ("turn", "turn_async")


def turn(owned: object) -> threading.RLock:
    """Return the lock that a thread holds while it uses a connection or session."""
    with _making:
        return _locks.setdefault(owned, threading.RLock())


def turn_async(owned: object) -> asyncio.Lock:
    """Return the lock that a task holds while it uses a connection or session."""
    with _making:
        return _async_locks.setdefault(owned, asyncio.Lock())


_making = threading.Lock()
_locks: WeakKeyDictionary[object, threading.RLock] = WeakKeyDictionary()
_async_locks: WeakKeyDictionary[object, asyncio.Lock] = WeakKeyDictionary()
