# Generated from _async/turns.py by tools/unasync.py; edit that and run `make fmt`.
"""Turns of the calls on a connection of the caller's, whichever of its clients makes them.

A call sends several messages to PostgreSQL, in a savepoint. The messages of two calls must not mix.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from pgchroma.backends._sync.io import Turn

__all__ = ("turn",)


def turn(owner: object) -> Turn:
    """Return the lock to hold while using a connection or session."""
    with _lock:
        return _turns.setdefault(owner, Turn())


_lock = threading.Lock()
_turns: WeakKeyDictionary[object, Turn] = WeakKeyDictionary()
