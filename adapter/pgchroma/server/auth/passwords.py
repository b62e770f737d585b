"""Verify passwords: a few concurrently, fairly between addresses, with a lockout per user.

A verification takes a core for a fifth of a second, so guesses are queued. An attacker delays no
one else: addresses take turns, and after too many wrong passwords from an address, a login is
locked for that address only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pgchroma.errors import RateLimitError
from pgchroma.model.hashes import is_match

__all__ = ("Lockout", "PasswordVerifier", "network_of")

MAX_VERIFICATIONS: Final = 2
"""Concurrent verifications. Each takes a core and 16 MB for a fifth of a second."""

MAX_WAITING: Final = 256
"""Passwords in the queue before one of the busiest address is rejected."""

MAX_FAILURES: Final = 10
"""Different wrong passwords of a login from one address before it is locked."""

LOCKED_SECONDS: Final = 60
"""How long failures count after the last one."""

MAX_REMEMBERED: Final = 4096
"""Maximum number of pairs of login and address whose failures are counted."""


class PasswordVerifier:
    """Compares passwords with their hashes, off the event loop."""

    def __init__(self) -> None:
        self._free = MAX_VERIFICATIONS
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._size = 0

    async def verify(self, password: str, secret_hash: str, network: str) -> bool:
        """Whether a password matches a hash.

        Args:
            password: The password.
            secret_hash: The stored hash.
            network: The caller's network; networks take turns.

        Raises:
            RateLimitError: The queue is full, and this network has the most entries.
        """
        async with self._slot(network):
            return await asyncio.to_thread(is_match, password, secret_hash)

    @asynccontextmanager
    async def _slot(self, network: str) -> AsyncGenerator[None, None]:
        if self._free:
            self._free -= 1
        else:
            await self._wait_turn(network)
        try:
            yield
        finally:
            self._release()

    async def _wait_turn(self, network: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(network, deque()).append(turn)
        self._size += 1
        if self._size > MAX_WAITING:
            self._reject_one()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting.get(network, ()):
                self._remove(network, turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._release()
            raise

    def _reject_one(self) -> None:
        """Reject a waiting password of the network that has the most, at random."""
        network = max(self._waiting, key=lambda each: len(self._waiting[each]))
        turn = random.choice(self._waiting[network])  # noqa: S311  (any will do)
        self._remove(network, turn)
        if not turn.done():
            turn.set_exception(
                RateLimitError("too many passwords of this address wait to be verified; try again")
            )

    def _remove(self, network: str, turn: asyncio.Future[None]) -> None:
        self._waiting[network].remove(turn)
        self._size -= 1
        if not self._waiting[network]:
            del self._waiting[network]

    def _release(self) -> None:
        """Start the next verification: the first of the network whose turn it is."""
        if not self._waiting:
            self._free += 1
            return
        network, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        self._size -= 1
        if turns:
            self._waiting[network] = turns
        if turn.done():
            # Its task was cancelled and has not run since.
            self._release()
        else:
            turn.set_result(None)


@dataclass(slots=True)
class _Failures:
    digests: set[bytes] = field(default_factory=set)
    pending: int = 0
    until: float = 0.0

    @property
    def count(self) -> int:
        return len(self.digests) + self.pending


class Lockout:
    """Counts the wrong passwords of a login from an address.

    The same password counts once, so that a program that keeps using an old one locks no one out.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, login: str, network: str, digest: bytes) -> None:
        """Reject a password without verifying it.

        Raises:
            RateLimitError: The login is locked for the network.
        """
        failures = self._failures.get((login, network))
        now = time.monotonic()
        if failures is None or failures.count < MAX_FAILURES or digest in failures.digests:
            return
        if failures.pending or failures.until > now:
            raise _locked(failures.until - now)

    def start(self, login: str, network: str, digest: bytes) -> None:
        """Record that a verification starts; the caller must call `end` afterwards.

        Raises:
            RateLimitError: The login is locked for the network.
        """
        failures = self._failures.setdefault((login, network), _Failures())
        self._failures.move_to_end((login, network))
        if failures.until <= time.monotonic():
            failures.digests.clear()
        self.check(login, network, digest)
        failures.pending += 1
        self._forget()

    def end(self, login: str, network: str, digest: bytes, *, is_wrong: bool) -> None:
        """Record the result of a verification; `is_wrong` is false if it failed."""
        failures = self._failures.get((login, network))
        if failures is None:
            return
        failures.pending -= 1
        if is_wrong:
            failures.digests.add(digest)
            failures.until = time.monotonic() + LOCKED_SECONDS

    def _forget(self) -> None:
        # The oldest first, but not those with a verification running.
        while len(self._failures) > MAX_REMEMBERED:
            key = next((key for key, each in self._failures.items() if not each.pending), None)
            if key is None:
                return
            del self._failures[key]


def _locked(seconds: float) -> RateLimitError:
    left = max(1, math.ceil(seconds))
    error = RateLimitError(
        f"too many wrong passwords of this user from this address; try again in {left} seconds"
    )
    error.retry_after = left
    return error


def network_of(address: str) -> str:
    """Return the network of an address: for IPv6 its /64, because one machine has all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None or parsed.version == 4:  # noqa: PLR2004
        return str(mapped or parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
