"""The server that a command's URL names: pgchroma's, or Chroma's own.

The API key comes from ``PGCHROMA_API_KEY``, or the file that ``PGCHROMA_API_KEY_FILE`` names. If
neither is set, the clients' settings apply, such as ``CHROMA_CLIENT_AUTH_CREDENTIALS``.
``CHROMA_API_KEY`` is the key of Chroma's cloud, and is sent there only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from pgchroma.cli.secret_variables import secret_variable
from pgchroma.client._sync.backends import http_backend
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.variables import environment

if TYPE_CHECKING:
    from pgchroma.backends._sync.http import HttpBackend

__all__ = ("API_KEY", "is_server_url", "server_address", "server_backend")

API_KEY: Final = "PGCHROMA_API_KEY"

_CLOUD_HOST: Final = "api.trychroma.com"
_CLOUD_KEY: Final = "CHROMA_API_KEY"


def is_server_url(url: str | None) -> bool:
    """Whether this is the URL of a server, and not that of a database."""
    return url is not None and url.strip().lower().startswith(("http://", "https://"))


def server_address(url: str) -> str:
    """Return the URL without its login, for messages.

    Raises:
        InvalidArgumentError: It is not the URL of a server.
    """
    parts = _split(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def server_backend(url: str, settings: Settings, key: str | None = None) -> HttpBackend:
    """Return a backend on the server of a URL. It connects with the first operation.

    Args:
        url: The server's URL. A login in it takes precedence over every key.
        settings: How the server is spoken to.
        key: The API key; `None` means the one in the environment.

    Raises:
        InvalidArgumentError: The URL or a setting is wrong; the message shows no credential.
    """
    parts = _split(url)
    changes: dict[str, object] = {"chroma_server_host": parts.geturl()}
    if "@" in parts.netloc:
        changes |= {"chroma_client_auth_provider": None}
    elif key := key or _key_of(parts):
        changes |= {
            "chroma_client_auth_provider": "TokenAuthClientProvider",
            "chroma_client_auth_credentials": key,
            # pgchroma's servers take it in this header and in another; Chroma's cloud in this one.
            "chroma_auth_token_transport_header": "X-Chroma-Token",
        }
    try:
        return http_backend(settings.model_copy(update=changes))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error


def _key_of(parts: SplitResult) -> str | None:
    key, _ = secret_variable(API_KEY)
    if key is None and parts.hostname == _CLOUD_HOST:
        key = environment().get(_CLOUD_KEY)
    return key or None


def _split(url: str) -> SplitResult:
    """Parse the URL of a server.

    The message shows nothing of the URL: if a password contains a character that separates the
    parts of a URL, any part may contain the password.
    """
    try:
        parts = urlsplit(url.strip().rstrip("/"))
        is_valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or parts.fragment or "@" in parts.path:
        raise InvalidArgumentError(
            "not the URL of a server: write http://host:port or https://host:port, and encode "
            "special characters of a password as %XX"
        )
    return parts
