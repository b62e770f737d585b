"""Parse the credential in a request's headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from litestar.types import Scope

from pgchroma.errors import ChromaAuthError

__all__ = ("HeaderCredential", "address_of", "parse_credential_headers", "plain_headers")

MAX_CHARACTERS: Final = 8192
"""Longer headers are rejected; the longest password fits."""


@dataclass(frozen=True, slots=True)
class HeaderCredential:
    """A key, or a login with a password.

    Attributes:
        login: `None` for a key without a login.
    """

    login: str | None
    secret: str = field(repr=False)


def parse_credential_headers(headers: Mapping[str, str]) -> HeaderCredential:
    """Parse ``Authorization`` and ``X-Chroma-Token``; header names are in lower case.

    Raises:
        ChromaAuthError: Both are missing, one is malformed, or they disagree.
    """
    authorization, token = headers.get("authorization"), headers.get("x-chroma-token")
    found = set()
    if authorization is not None:
        found.add(_parse_authorization(_checked(authorization)))
    if token is not None:
        found.add(HeaderCredential(None, _parse_token(_checked(token))))
    if not found:
        raise ChromaAuthError(
            "authentication required: send an API key as `Authorization: Bearer <key>` or "
            "`X-Chroma-Token: <key>`"
        )
    if len(found) > 1:
        raise ChromaAuthError("the headers Authorization and X-Chroma-Token disagree")
    return found.pop()


def plain_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Decode ASGI's headers; the values of a repeated header are joined by commas.

    Two different credentials in two headers of one name are therefore malformed: none is used.
    """
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def address_of(scope: Scope) -> str:
    """Return the IP address that a request came from; empty if the socket has no address."""
    client = scope.get("client")
    return client[0] if client else ""


def _checked(text: str) -> str:
    if len(text) > MAX_CHARACTERS or not text.isascii() or not text.isprintable():
        raise _malformed()
    return text.strip()


def _parse_authorization(text: str) -> HeaderCredential:
    scheme, _, rest = text.partition(" ")
    match scheme.lower():
        case "bearer":
            return HeaderCredential(None, _one_word(rest))
        case "basic":
            return _parse_basic(_one_word(rest))
        case _:
            raise _malformed()


def _parse_token(text: str) -> str:
    scheme, _, rest = text.partition(" ")
    return _one_word(rest if scheme.lower() == "bearer" else text)


def _parse_basic(text: str) -> HeaderCredential:
    try:
        login, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _malformed() from error
    # scrypt ignores a password's trailing NULs, so it would also match the password without them.
    if not (login and colon and password) or "\0" in login + password:
        raise _malformed()
    return HeaderCredential(login, password)


def _one_word(text: str) -> str:
    words = text.split()
    if len(words) != 1:
        raise _malformed()
    return words[0]


def _malformed() -> ChromaAuthError:
    return ChromaAuthError("the credential is malformed")
