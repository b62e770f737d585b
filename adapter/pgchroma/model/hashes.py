"""Secrets: generate them, hash them, and compare them with their hashes.

A key's secret is 256 random bits, so one round of SHA-256 is enough. A password can be guessed, so
it is hashed with scrypt; the hash contains the cost parameters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.text import check_text

__all__ = (
    "DECOY",
    "Key",
    "check_password",
    "hash_key_secret",
    "hash_password",
    "is_match",
    "new_id",
)

MIN_PASSWORD_CHARACTERS: Final = 8
MAX_PASSWORD_CHARACTERS: Final = 1024

_KEY: Final = re.compile(r"pgc_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)

_N, _R, _P = 1 << 14, 8, 5
"""OWASP's recommendation of 2024 for 16 MB of memory; 0.2 s on a slow core."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: a public id and a secret."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The key as it is sent."""
        return f"pgc_{self.id}_{self.secret}"

    @classmethod
    def generate(cls) -> Self:
        """Generate a random key."""
        return cls(new_id(), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a key; return `None` if the text is not a key."""
        found = _KEY.fullmatch(text)
        return None if found is None else cls(*found.groups())


def new_id() -> str:
    """Return 64 random bits as a credential's id; they are not secret."""
    return secrets.token_hex(8)


def check_password(password: str) -> str:
    """Return `password` if it is valid.

    Raises:
        InvalidArgumentError: It is too short or too long, or has the form of a key.
    """
    check_text(password, "password")
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidArgumentError(
            f"expected a password of {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} "
            f"characters, got {len(password)}"
        )
    if Key.parse(password) is not None:
        raise InvalidArgumentError("a password may not have the form of a key")
    return password


def hash_key_secret(secret: str) -> str:
    """Return the hash of a key's secret."""
    return f"sha256${hashlib.sha256(secret.encode()).hexdigest()}"


def hash_password(password: str) -> str:
    """Return the hash of a password, with scrypt's cost parameters and the salt."""
    salt = secrets.token_bytes(16)
    return _scrypt_text(salt, _scrypt(password, salt, _N, _R, _P))


def is_match(secret: str, secret_hash: str) -> bool:
    """Whether `secret` matches the hash, compared in constant time.

    A hash of an unknown form matches nothing.
    """
    scheme, _, rest = secret_hash.partition("$")
    if scheme == "sha256":
        return hmac.compare_digest(hash_key_secret(secret), secret_hash)
    return scheme == "scrypt" and _is_scrypt_match(secret, rest)


def _is_scrypt_match(password: str, parameters: str) -> bool:
    if "\0" in password:
        # HMAC, and so scrypt, pads short passwords with NULs.
        return False
    try:
        n, r, p, salt, expected = parameters.split("$")
        costs = int(n), int(r), int(p)
        wanted = base64.b64decode(expected, validate=True)
        found = _scrypt(password, base64.b64decode(salt, validate=True), *costs)
    except ValueError:
        return False
    return hmac.compare_digest(found, wanted)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=1 << 28, dklen=_DIGEST_BYTES
    )


def _scrypt_text(salt: bytes, digest: bytes) -> str:
    parts = (salt, digest)
    return "$".join(
        ("scrypt", str(_N), str(_R), str(_P), *(base64.b64encode(part).decode() for part in parts))
    )


_DIGEST_BYTES: Final = 32

DECOY: Final = _scrypt_text(secrets.token_bytes(16), secrets.token_bytes(_DIGEST_BYTES))
"""A hash that no password matches, for unknown users, so that verifying takes as long."""
