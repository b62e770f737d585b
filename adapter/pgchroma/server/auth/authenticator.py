"""Authentication: find the caller that a request's credential belongs to.

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

from pgchroma.backends._async.base import AsyncBackend
from pgchroma.errors import ChromaAuthError
from pgchroma.model.credentials import Caller, CredentialKind, FoundCredential
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
"""Maximum number of callers, and of rejected credentials, in the cache."""


class Authenticator(Protocol):
    """Authenticates callers."""

    async def authenticate(self, headers: Mapping[str, str], address: str = "") -> Caller:
        """Return the caller that sent a request.

        Args:
            headers: The request's headers; their names are in lower case.
            address: The IP address it came from.

        Raises:
            ChromaAuthError: The headers have no valid credential.
            RateLimitError: Too many wrong passwords came from the address.
        """
        ...

    def forget(self) -> None:
        """Clear the cache, because a credential or the scope of one was deleted."""
        ...


class AllowAll:
    """Accepts every request, with the rights of an admin."""

    async def authenticate(self, headers: Mapping[str, str], address: str = "") -> Caller:
        """Return a caller without a name."""
        return Caller("", "admin")

    def forget(self) -> None:
        """Do nothing: there is no cache."""


class CredentialAuthenticator:
    """Accepts live keys, and the names and passwords of live users.

    Args:
        backend: Looks credentials up.
        cache_seconds: How long a result is cached; 0 disables the cache.
        limiter: Bounds concurrent lookups.
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
        # Credentials are cached only as hashes, with a key that exists only in this object.
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
            # One text for all reasons: it must not reveal which credentials exist.
            raise ChromaAuthError("the credential is not valid")
        return caller

    def forget(self) -> None:
        """Clear the cache."""
        # A lookup that is running writes its result to the old cache.
        self._caches = AuthCaches()

    async def _find_caller_once(
        self, credential: HeaderCredential, digest: bytes, network: str
    ) -> Caller | None:
        """Look the caller up, or wait for a running lookup of the same credential."""
        pending = self._caches.pending
        task = pending.get(digest)
        if task is None:
            finding = self._find_caller(credential, digest, network, self._caches)
            task = pending[digest] = asyncio.create_task(finding)
            task.add_done_callback(lambda done: _settle(pending, digest, done))
        # If one client disconnects, the others still need the result.
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
        # A password that matched a hash always will; only whether the user is live is looked up.
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

    async def _find_credential(self, kind: CredentialKind, login: str) -> FoundCredential | None:
        # Only the lookup takes a slot: passwords wait elsewhere, and must not block requests.
        async with self._limiter.slot():
            return await self._backend.execute(FindCredential(kind, login))

    def _digest(self, credential: HeaderCredential) -> bytes:
        text = repr((credential.login, credential.secret))
        return hmac.digest(self._hashing_key, text.encode(), "sha256")


def identity(caller: Caller) -> UserIdentity:
    """Return the caller's identity as Chroma does: its clients take tenant and database from it.

    A caller whose scope is wider than a database gets ``*`` for the databases, and one whose scope
    is everything also for the tenant.
    """
    if not caller.name:
        return UserIdentity("", DEFAULT_TENANT, [DEFAULT_DATABASE])
    scope = caller.scope
    return UserIdentity(caller.name, scope.tenant or "*", [scope.database or "*"])


class TtlCache(Generic[V]):
    """A bounded cache whose entries expire; the oldest entry is evicted first."""

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
    """Recent results of lookups; rejected credentials are separate, so as not to evict callers."""

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
        # All waiting clients may have disconnected; asyncio would log the error as unretrieved.
        done.exception()
