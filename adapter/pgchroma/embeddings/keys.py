"""API keys: how they are found, and how they are kept out of messages and configurations."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = (
    "ApiKey",
    "hide_secrets",
    "is_secret_name",
    "is_variable_name",
    "split_words",
    "strip_userinfo",
    "userinfo",
    "without_secrets",
)

_SECRET = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)
"""Parts of the names of secret headers. A few other names also contain them."""

_SECRET_WORDS = frozenset(
    [
        "apikey", "apikeys", "auth", "authorization", "bearer", "cookie", "cookies", "credential",
        "credentials", "key", "keys", "passphrase", "passwd", "password", "passwords", "secret",
        "secrets", "token",
    ]
)  # fmt: skip
_LENDING_WORDS = frozenset(["access", "api", "auth", "bearer", "refresh"])
"""Words before "tokens" that make them keys, not parts of texts."""

_VARIABLE_WORDS = frozenset(["env", "var", "variable"])
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")


class ApiKey:
    """A key that no repr, log or configuration shows.

    Attributes:
        variable: The environment variable that a collection stores instead of the key, or `None`.
    """

    __slots__ = ("_secret", "variable")

    def __init__(
        self,
        secret: str | None,
        variable: str | None,
        vendor_variable: str | None = None,
        *,
        is_required: bool = True,
    ) -> None:
        """Find a key, in the arguments or in the environment.

        Args:
            secret: The key itself. It is not stored.
            variable: The environment variable of the key.
            vendor_variable: The variable that the vendor's own programs read. If it is set, it
                takes precedence over `variable`, as in Chroma.
            is_required: Whether a missing key is an error.

        Raises:
            ValueError: A required key is missing, or a header cannot contain the key.
        """
        if secret is not None:
            warnings.warn(
                "Direct api_key configuration will not be persisted. "
                "Please use environment variables via api_key_env_var for persistent storage.",
                DeprecationWarning,
                stacklevel=3,
            )
        is_vendor_set = vendor_variable is not None and vendor_variable in os.environ
        self.variable = vendor_variable if is_vendor_set else variable
        self._secret = secret
        key = self.get_secret()
        if is_required and not key:
            is_other = vendor_variable not in (None, self.variable)
            advice = f" Set it, or {vendor_variable}." if is_other else ""
            raise ValueError(f"The {self.variable} environment variable is not set.{advice}")
        if not (key.isascii() and key.isprintable()):
            # Checked here, because an error of the HTTP client would contain the key.
            source = "api_key" if secret else self.variable
            raise ValueError(f"{source}: expected an API key of printable ASCII characters")

    def get_secret(self) -> str:
        """Return the key. One from the environment is its current value, or empty."""
        # A key that was read from a file may end with a newline.
        return (self._secret or os.environ.get(self.variable or "", "")).strip()

    def __repr__(self) -> str:
        return f"ApiKey({self.variable})"


def without_secrets(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return settings, such as headers to store, without entries whose names are secret."""
    if settings is None:
        return None
    return {key: value for key, value in settings.items() if not _SECRET.search(key)}


def split_words(name: str) -> list[str]:
    """Return the words of a setting's or a header's name. ``apiKey`` and ``api-key`` have two."""
    return [word.lower() for word in _WORD.findall(name)]


def is_variable_name(name: str) -> bool:
    """Whether a setting with this name contains the name of an environment variable."""
    return not _VARIABLE_WORDS.isdisjoint(split_words(name)[-1:])


def is_secret_name(name: str) -> bool:
    """Whether a text with this name is secret."""
    words = split_words(name)
    if is_variable_name(name):
        return False
    is_lending = "tokens" in words and not _LENDING_WORDS.isdisjoint(words)
    return is_lending or not _SECRET_WORDS.isdisjoint(words)


def strip_userinfo(value: Any) -> Any:
    """Return a URL without user and password, and anything else unchanged."""
    return _USERINFO.sub("", value) if isinstance(value, str) else value


def userinfo(url: str) -> tuple[str, str] | None:
    """Return the user and the password of a URL, or `None` if it has neither."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def hide_secrets(text: str, headers: Mapping[str, str] | None, others: Iterable[str] = ()) -> str:
    """Return a text, such as an error message, with asterisks instead of secrets.

    Args:
        text: The text.
        headers: The headers of the request. Those with secret names are secret.
        others: More secrets.
    """
    in_headers = (
        value.rpartition(" ")[2] for name, value in (headers or {}).items() if _SECRET.search(name)
    )
    for secret in filter(None, (*in_headers, *others)):
        text = text.replace(secret, "***")
    return text
