"""Protect a server without authentication from requests that web pages make a browser send.

Such a server listens on loopback, where every page in the user's browser can reach it: with a form
or a ``no-cors`` request, which need no permission, or under the page's own host name if that
resolves to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from pgchroma.server.auth.headers import plain_headers
from pgchroma.server.http.errors import (
    ForeignHostError,
    ForeignOriginError,
    UnsupportedMediaTypeError,
    is_json,
)

__all__ = ("BrowserGuard", "BrowserRules", "check_request", "host_of")

_SAFE: Final = frozenset(["GET", "HEAD", "OPTIONS"])
_WITH_BODY: Final = frozenset(["POST", "PUT", "PATCH"])

_PORTS: Final = {"http": 80, "https": 443}


class BrowserRules:
    """Which requests a server without authentication accepts.

    Args:
        hosts: Host names to accept besides loopback's; ``*`` for all.
        origins: Origins whose pages may call the API; ``*`` for all.
    """

    def __init__(self, hosts: Collection[str], origins: Collection[str]) -> None:
        self._hosts = frozenset(filter(None, map(host_of, hosts)))
        self._origins = frozenset(origins)

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Raise if a page of another origin may have made a request; see `check_request`."""
        check_request(method, headers, self._hosts, self._origins)


class BrowserGuard:
    """Middleware of a server without authentication."""

    def __init__(self, app: ASGIApp, rules: BrowserRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request that a page of another origin may have made.

        Raises:
            ForeignHostError: It is addressed to another host.
            ForeignOriginError: It was made by a page of another origin.
            UnsupportedMediaTypeError: It is a write, and its body is not JSON.
        """
        if scope["type"] == ScopeType.HTTP:
            self._rules.check(scope["method"], plain_headers(scope["headers"]))
        await self._app(scope, receive, send)


def check_request(
    method: str, headers: Mapping[str, str], hosts: Collection[str], origins: Collection[str]
) -> None:
    """Raise if a page of another origin may have made a request.

    Args:
        method: Its method.
        headers: Its headers; their names are in lower case.
        hosts: See `BrowserRules`; as `host_of` returns them.
        origins: See `BrowserRules`.
    """
    _check_host(headers, hosts)
    if method in _SAFE:
        return
    _check_origin(headers, origins)
    if method in _WITH_BODY:
        _check_type(headers)


def host_of(authority: str) -> str:
    """Return the host of ``host:port``, in lower case; empty if the text is malformed."""
    found = _Authority.parse(authority, "http")
    return "*" if authority == "*" else "" if found is None else found.host


@dataclass(frozen=True, slots=True)
class _Authority:
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, scheme: str) -> _Authority | None:
        try:
            parts = urlsplit(f"//{text}")
            port = parts.port
        except ValueError:
            return None
        if not parts.hostname or parts.netloc != text or "@" in text:
            return None
        host = parts.hostname.removesuffix(".")
        return cls(host, port or _PORTS.get(scheme, 0))


def _check_host(headers: Mapping[str, str], hosts: Collection[str]) -> None:
    given = headers.get("host")
    # Every browser sends the header; HTTP/1.0 probes do not, and granian then passes an empty one.
    if not given or "*" in hosts:
        return
    host = host_of(given)
    if host not in hosts and not _is_loopback(host):
        raise ForeignHostError(
            f"without authentication this server accepts requests to localhost only, not to "
            f"{given!r:.200}; add the host to the setting allowed_hosts, or enable authentication"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _check_origin(headers: Mapping[str, str], origins: Collection[str]) -> None:
    origin = headers.get("origin")
    if origin is None:
        # Programs send neither header; pages of other origins send at least one of them.
        origin = headers.get("sec-fetch-site", "none")
        is_own = origin in ("none", "same-origin")
    else:
        is_own = "*" in origins or origin in origins or _is_same_host(origin, headers)
    if not is_own:
        raise ForeignOriginError(
            "without authentication this server accepts no writes from web pages of other "
            f"origins, such as {origin!r:.200}; add the origin to the setting cors_allow_origins, "
            "or enable authentication"
        )


def _is_same_host(origin: str, headers: Mapping[str, str]) -> bool:
    scheme, _, authority = origin.partition("://")
    asking = _Authority.parse(authority, scheme)
    return asking is not None and asking == _Authority.parse(headers.get("host", ""), scheme)


def _check_type(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if kind is None and not has_body:
        return
    if kind is None or not is_json(kind):
        raise UnsupportedMediaTypeError("Expected request with `Content-Type: application/json`")
