"""Authentication: which caller a request's credential stands for.

`AllowAll` accepts every request. `CredentialAuthenticator` looks credentials up in the database and
caches the result for some seconds. For that long, a credential still works that was revoked by
another process, or whose tenant, database or collection was deleted or renamed. `forget` clears the
cache of this process.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Generic, Protocol, TypeVar

from pgchroma.backends.base import AsyncBackend
from pgchroma.errors import ChromaAuthError
from pgchroma.model.credentials import Caller, FoundCredential, Kind
from pgchroma.model.entities import UserIdentity
from pgchroma.model.hashes import DECOY, Key, is_match
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.operations.credentials import FindCredential
from pgchroma.server.auth.headers import HeaderCredential, parse_credential_headers
from pgchroma.server.auth.passwords import Lockout, PasswordVerifier, network_of
from pgchroma.server.limits import RequestLimiter

__all__ = ("AllowAll", "Authenticator", "CredentialAuthenticator", "identity")

V = TypeVar("V")

MAX_CACHED: Final = 4096
"""How many callers, and how many failures, are remembered at most."""


class Authenticator(Protocol):
    """Decides who is let in."""

    async def authenticate(self, headers: Mapping[str, str], address: str = "") -> Caller:
        """Return who sent a request.

        Args:
            headers: The request's; their names are in lower case.
            address: Where it came from.

        Raises:
            ChromaAuthError: The headers have no credential that is valid.
            RateLimitError: Too many wrong passwords came from the address.
        """
        ...

    def forget(self) -> None:
        """Ask anew for everybody, because a credential or what one is for was deleted."""
        ...


class AllowAll:
    """Everybody may do everything."""

    async def authenticate(self, headers: Mapping[str, str], address: str = "") -> Caller:
        """Return nobody in particular."""
        return Caller("", "admin")

    def forget(self) -> None:
        """Nothing is remembered."""


class CredentialAuthenticator:
    """Lets in who has a live key, or a live user's name and password.

    Args:
        backend: Where the credentials are.
        cache_seconds: How long an answer of the database's is remembered; 0 asks every time.
        limiter: Bounds how many ask the database at once.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        cache_seconds: float = 5.0,
        limiter: RequestLimiter | None = None,
    ) -> None:
        self._backend = backend
        self._limiter = limiter or RequestLimiter(0, 60.0)
        self._seconds = cache_seconds
        # Of what was presented nothing is kept but a hash under a key that is nowhere else.
        self._hashing_key = secrets.token_bytes(32)
        self._passwords = PasswordVerifier()
        self._lockout = Lockout()
        self._verified: TtlCache[str] = TtlCache()
        self._caches = AuthCaches()

    async def authenticate(self, headers: Mapping[str, str], address: str = "") -> Caller:
        """Return whose credential the headers have; see `Authenticator`."""
        credential = parse_credential_headers(headers)
        digest = self._digest(credential)
        caches = self._caches
        caller = caches.callers.get(digest)
        if caller is None and not caches.rejected.get(digest):
            caller = await self._find_caller_once(credential, digest, network_of(address))
        if caller is None:
            # One text for all reasons: what exists is told to nobody outside.
            raise ChromaAuthError("the credential is not valid")
        return caller

    def forget(self) -> None:
        """Ask the database anew for everybody."""
        # A question under way keeps its answer to the old memory.
        self._caches = AuthCaches()

    async def _find_caller_once(
        self, credential: HeaderCredential, digest: bytes, network: str
    ) -> Caller | None:
        """Ask the database, or wait for somebody who is asking about the same."""
        pending = self._caches.pending
        task = pending.get(digest)
        if task is None:
            finding = self._find_caller(credential, digest, network, self._caches)
            task = pending[digest] = asyncio.create_task(finding)
            task.add_done_callback(lambda done: _settle(pending, digest, done))
        # The others still want to know when one of them hangs up.
        return await asyncio.shield(task)

    async def _find_caller(
        self, credential: HeaderCredential, digest: bytes, network: str, caches: AuthCaches
    ) -> Caller | None:
        asked_at = time.monotonic()
        found = await self._verify(credential, digest, network)
        if found is None:
            caches.rejected.put(digest, True, asked_at + self._seconds)
            return None
        caller = found.credential.caller
        seconds = math.inf if found.seconds_left is None else found.seconds_left
        caches.callers.put(digest, caller, asked_at + min(self._seconds, seconds))
        return caller

    async def _verify(
        self, credential: HeaderCredential, digest: bytes, network: str
    ) -> FoundCredential | None:
        login, secret = credential.login, credential.secret
        key = Key.parse(secret)
        if key is not None:
            return await self._verify_key(key, login)
        if login is None:
            return None
        # What was right for a hash stays so; then only the database is asked whether it lives.
        verified = self._verified.get(digest)
        if verified is None:
            self._lockout.check(login, network, digest)
        found = await self._find_credential("user", login)
        secret_hash = DECOY if found is None else found.secret_hash
        if verified != secret_hash:
            if not await self._matches(secret, secret_hash, digest, (login, network)):
                return None
            self._verified.put(digest, secret_hash, math.inf)
        return found

    async def _verify_key(self, key: Key, login: str | None) -> FoundCredential | None:
        found = await self._find_credential("key", key.id)
        if found is None or not is_match(key.secret, found.secret_hash):
            return None
        return found if login in (None, key.id, found.credential.name) else None

    async def _matches(
        self, password: str, secret_hash: str, digest: bytes, source: tuple[str, str]
    ) -> bool:
        self._lockout.start(*source, digest)
        is_right = None
        try:
            is_right = await self._passwords.verify(password, secret_hash, source[1])
        finally:
            self._lockout.end(*source, digest, is_wrong=is_right is False)
        return is_right

    async def _find_credential(self, kind: Kind, login: str) -> FoundCredential | None:
        # Only the question counts as a request: passwords wait elsewhere, and hold nobody up.
        async with self._limiter.slot():
            return await self._backend.execute(FindCredential(kind, login))

    def _digest(self, credential: HeaderCredential) -> bytes:
        text = repr((credential.login, credential.secret))
        return hmac.digest(self._hashing_key, text.encode(), "sha256")


def identity(caller: Caller) -> UserIdentity:
    """Say who the caller is as Chroma does: its clients take tenant and database from it.

    A caller whose scope is wider than a database gets ``*`` for the databases, and one whose scope
    is everything also for the tenant.
    """
    if not caller.name:
        return UserIdentity("", DEFAULT_TENANT, [DEFAULT_DATABASE])
    scope = caller.scope
    return UserIdentity(caller.name, scope.tenant or "*", [scope.database or "*"])


class TtlCache(Generic[V]):
    """The newest of what was kept, each as long as it may."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def get(self, key: bytes) -> V | None:
        value, until = self._kept.get(key, (None, 0.0))
        return value if time.monotonic() < until else None

    def put(self, key: bytes, value: V, until: float) -> None:
        self._kept[key] = value, until
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_CACHED:
            self._kept.popitem(last=False)


class AuthCaches:
    """What the database said of late. Failures crowd out no callers: they are kept apart."""

    def __init__(self) -> None:
        self.callers: TtlCache[Caller] = TtlCache()
        self.rejected: TtlCache[bool] = TtlCache()
        self.pending: dict[bytes, asyncio.Task[Caller | None]] = {}


def _settle(
    pending: dict[bytes, asyncio.Task[Caller | None]],
    digest: bytes,
    done: asyncio.Task[Caller | None],
) -> None:
    del pending[digest]
    if not done.cancelled():
        # Everybody who waited for it may have hung up, and nobody seen its fault.
        done.exception()
