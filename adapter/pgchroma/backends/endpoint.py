"""Where a server is, and how connections to it are made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from pgchroma._version import __version__

__all__ = ("Endpoint",)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server and the options of connections to it.

    Attributes:
        url: Scheme, host, port and the path before ``/api/v2``, if any.
        headers: Sent with every request; they may contain a credential.
        timeout: Seconds that the server may take to answer.
        verify: Whether the certificate is checked, or the path of the authority's certificate.
        keepalive: Seconds that an idle connection is kept.
        connections: The maximum number of connections; `None` means no limit.
        idle_connections: The maximum number of idle connections; `None` means no limit.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 120.0
    verify: bool | str = True
    keepalive: float = 40.0
    connections: int | None = None
    idle_connections: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            # httpx's own error would quote the value, which may be a credential.
            if not f"{name}{value}".isascii() or not f"{name}{value}".isprintable():
                raise ValueError(
                    f"the header {name!r} has a character that is not printable ASCII; a line "
                    "break at its end, perhaps"
                )
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"not a server's URL: {error}") from None

    @property
    def address(self) -> str:
        """The URL without a password, for messages."""
        return str(httpx.URL(self.url).copy_with(userinfo=b""))

    def options(self) -> dict[str, Any]:
        """Return the arguments of httpx's clients."""
        # Names of headers may be in any case, and later ones win.
        headers = httpx.Headers({"user-agent": f"pgchroma/{__version__}"})
        headers.update(dict(self.headers))
        headers["content-type"] = "application/json"
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout, connect=10.0),
            "verify": _context(self.url, self.verify),
            "limits": httpx.Limits(
                max_connections=self.connections,
                max_keepalive_connections=self.idle_connections,
                keepalive_expiry=self.keepalive,
            ),
        }


def _context(url: str, verify: bool | str) -> bool | ssl.SSLContext:
    if verify is True and httpx.URL(url).scheme != "https":
        return _context_of_no_authority()
    if isinstance(verify, bool):
        return verify
    if Path(verify).is_dir():
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


@cache
def _context_of_no_authority() -> ssl.SSLContext:
    """Return a context for connections without TLS, under which no certificate would be valid.

    httpx would read the certificates of all authorities, which takes 40 ms.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
