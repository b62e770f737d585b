"""Where a server is, and what a client shows it, read from the settings."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pgchroma.config import Settings
from pgchroma.errors import UnavailableError

if TYPE_CHECKING:
    from pgchroma.backends.endpoint import Endpoint

__all__ = ("DEFAULT_PORT", "endpoint_of", "parse_host", "parse_port", "unreachable")

_DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 8000
_LAST_PORT: Final = 65_535
_UNREACHABLE: Final = "Could not connect to a Chroma server. Are you sure it is running?"

_HOST: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/@?#\[\]]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.%\w]*)"
    r"(?::(?P<port>\d{1,5}))?"
)
"""A name or an address; of IPv6 in brackets, or else without a port."""

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

_TOKEN: Final = "chromadb.auth.token_authn.TokenAuthClientProvider"  # noqa: S105  (a class)
_BASIC: Final = "chromadb.auth.basic_authn.BasicAuthClientProvider"
_HEADERS: Final = ("Authorization", "X-Chroma-Token")


def endpoint_of(settings: Settings) -> Endpoint:
    """Return where the settings' server is and how to speak to it.

    Raises:
        ValueError: A setting cannot be what it says it is; the message names it.
    """
    from pgchroma.backends.endpoint import Endpoint  # noqa: PLC0415  (only where it is used)

    return Endpoint(
        _url(settings),
        _headers(settings),
        settings.pgchroma_http_timeout,
        _verify(settings.chroma_server_ssl_verify),
        settings.chroma_http_keepalive_secs,
        settings.chroma_http_max_connections,
        settings.chroma_http_max_keepalive_connections,
    )


def parse_host(host: str) -> tuple[str, int | None]:
    """Split a host from a port that may be written behind it.

    Raises:
        ValueError: It is not a host.
    """
    found = _HOST.fullmatch(host)
    if found is None or (found["port"] and int(found["port"]) > _LAST_PORT):
        raise ValueError(
            f"Invalid host {host!r:.200}: expected a name or an address, with or without a port, "
            "such as db.example, db.example:8000 or [::1]:8000, or a URL"
        )
    return found["host"].strip("[]"), int(found["port"]) if found["port"] else None


def parse_port(port: object) -> int:
    """Read a port, which may be a text.

    Raises:
        ValueError: It is not a number from 1 to 65535.
    """
    text = str(port)
    if isinstance(port, bool) or not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise ValueError(f"Invalid port {port!r:.100}: expected a number from 1 to {_LAST_PORT}")
    return int(text)


def unreachable(error: UnavailableError, settings: Settings) -> str:
    """Return Chroma's message, which programs look for, with the address and the reason."""
    from pgchroma.backends.http_errors import InsecureError  # noqa: PLC0415

    reason, address = error.message(), endpoint_of(settings).address
    if isinstance(error, InsecureError):
        return reason
    return f"{_UNREACHABLE} ({reason if address in reason else f'{address}: {reason}'})"


def _url(settings: Settings) -> str:
    host = settings.chroma_server_host or _DEFAULT_HOST
    if "://" in host:
        scheme = urlsplit(host).scheme
        if scheme not in ("http", "https"):
            raise ValueError(f"Invalid URL. Unrecognized protocol - {scheme}.")
        return host.rstrip("/").removesuffix("/api/v2")
    if "/" in host:
        raise ValueError(f"Invalid URL. Unrecognized protocol - {host}.")
    scheme = "https" if settings.chroma_server_ssl_enabled else "http"
    name, port = parse_host(host)
    named = f"[{name}]" if ":" in name else name
    return f"{scheme}://{named}:{port or settings.chroma_server_http_port or DEFAULT_PORT}"


def _verify(verify: bool | str | None) -> bool | str:
    """Read the setting, which is a text where it comes from the environment."""
    if verify is None or isinstance(verify, bool):
        return True if verify is None else verify
    text = verify.strip()
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if not text or not Path(text).exists():
        raise ValueError(
            "chroma_server_ssl_verify: expected true, false or the path of an authority's "
            f"certificate; there is no file {text!r:.200}"
        )
    return text


def _headers(settings: Settings) -> dict[str, str]:
    given = settings.chroma_server_headers or {}
    named = {name.lower() for name in given}
    credential = _credential(settings)
    return {**{k: v for k, v in credential.items() if k.lower() not in named}, **given}


def _credential(settings: Settings) -> dict[str, str]:
    provider = settings.chroma_client_auth_provider
    if not provider:
        return {}
    kind = _provider_kind(provider)
    secret = settings.chroma_client_auth_credentials
    if not secret:
        raise ValueError("chroma_client_auth_provider is set, chroma_client_auth_credentials not")
    if not secret.isascii() or not secret.isprintable():
        raise ValueError("Invalid token. Must contain only ASCII letters and digits.")
    if kind == "basic":
        return {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
    header = _transport_header(settings.chroma_auth_token_transport_header)
    return {header: f"Bearer {secret}" if header == "Authorization" else secret}


def _provider_kind(provider: str) -> str:
    """Return ``token`` or ``basic``; the modules of Chroma's classes were others before 0.5."""
    kind = provider.rpartition(".")[2].lower().removesuffix("authclientprovider")
    if kind not in ("token", "basic"):
        raise ValueError(
            f"chroma_client_auth_provider: unknown provider {provider!r:.200}, expected "
            f"{_TOKEN} or {_BASIC}"
        )
    return kind


def _transport_header(setting: str | None) -> str:
    # Before 0.5 it was the name in an enumeration, X_CHROMA_TOKEN.
    wanted = (setting or _HEADERS[0]).replace("_", "-").lower()
    for header in _HEADERS:
        if header.lower() == wanted:
            return header
    raise ValueError(
        f"chroma_auth_token_transport_header: unknown header {setting!r:.100}, expected one of "
        f"{', '.join(_HEADERS)}"
    )
