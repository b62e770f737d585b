"""API keys: where they are found, and how they stay out of sight."""

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
"""What is in the names of headers that are secret, and now and then in another's."""

_SECRET_WORDS = frozenset(
    [
        "apikey", "apikeys", "auth", "authorization", "bearer", "cookie", "cookies", "credential",
        "credentials", "key", "keys", "passphrase", "passwd", "password", "passwords", "secret",
        "secrets", "token",
    ]
)  # fmt: skip
_LENDING_WORDS = frozenset(["access", "api", "auth", "bearer", "refresh"])
"""With these before them tokens are keys, and not what texts are made of."""

_VARIABLE_WORDS = frozenset(["env", "var", "variable"])
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


class ApiKey:
    """A key that no repr, log or configuration shows.

    Attributes:
        variable: The environment variable a collection remembers in the key's stead; None if none
            was named.
    """

    __slots__ = ("_given", "variable")

    def __init__(
        self,
        given: str | None,
        variable: str | None,
        usual: str | None = None,
        *,
        is_needed: bool = True,
    ) -> None:
        """Find a key: the one given, or the environment's.

        Args:
            given: The key itself; it is not remembered.
            variable: The environment variable that has it otherwise.
            usual: The variable that the vendor's own programs read. Where it is set it counts
                instead of the other, as in Chroma.
            is_needed: Whether there has to be a key.

        Raises:
            ValueError: There is none though it is needed, or it is none that a header can carry.
        """
        if given is not None:
            warnings.warn(
                "Direct api_key configuration will not be persisted. "
                "Please use environment variables via api_key_env_var for persistent storage.",
                DeprecationWarning,
                stacklevel=3,
            )
        self.variable = usual if usual is not None and usual in os.environ else variable
        self._given = given
        key = self.get_secret()
        if is_needed and not key:
            others = "" if usual in (None, self.variable) else f" Set it, or {usual}."
            raise ValueError(f"The {self.variable} environment variable is not set.{others}")
        if not (key.isascii() and key.isprintable()):
            # Told here: an error of the connection's would show the key.
            where = "given" if given else f"in {self.variable}"
            raise ValueError(f"The API key {where} has characters that no API key has")

    def get_secret(self) -> str:
        """Return the key, to be sent; the environment's as it is now; empty if there is none."""
        # A key read from a file brings its line's end along.
        return (self._given or os.environ.get(self.variable or "", "")).strip()

    def __repr__(self) -> str:
        return f"ApiKey({self.variable})"


def without_secrets(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave out the entries whose names say that they are secret, as of headers to be stored."""
    if settings is None:
        return None
    return {key: value for key, value in settings.items() if not _SECRET.search(key)}


def split_words(name: str) -> list[str]:
    """Return the words of a setting's or a header's name: ``apiKey`` and ``api-key`` are two."""
    return [word.lower() for word in _WORD.findall(name)]


def is_variable_name(name: str) -> bool:
    """Whether a setting of that name has the name of an environment variable."""
    return not _VARIABLE_WORDS.isdisjoint(split_words(name)[-1:])


def is_secret_name(name: str) -> bool:
    """Whether a text of that name is to be kept from others."""
    words = split_words(name)
    if is_variable_name(name):
        return False
    is_lending = "tokens" in words and not _LENDING_WORDS.isdisjoint(words)
    return is_lending or not _SECRET_WORDS.isdisjoint(words)


def strip_userinfo(value: Any) -> Any:
    """Leave out the user and the password of a URL; anything else is given back as it is."""
    return _LOGIN.sub("", value) if isinstance(value, str) else value


def userinfo(url: str) -> tuple[str, str] | None:
    """Return the user and the password in a URL; None: there are none."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def hide_secrets(text: str, headers: Mapping[str, str] | None, others: Iterable[str] = ()) -> str:
    """Put asterisks where a text, as of an error, repeats a secret that was sent.

    Args:
        text: The text.
        headers: What was sent along; whose names say so are secret.
        others: Further secrets.
    """
    sent = (v.rpartition(" ")[2] for name, v in (headers or {}).items() if _SECRET.search(name))
    for secret in filter(None, (*sent, *others)):
        text = text.replace(secret, "***")
    return text
