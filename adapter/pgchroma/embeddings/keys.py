"""API keys: where they are found, and how they stay out of sight."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ("ApiKey", "hide_secrets", "without_login", "without_secrets")

_SECRET = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)
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
        key = self.reveal()
        if is_needed and not key:
            raise ValueError(f"The {self.variable} environment variable is not set.")
        if not (key.isascii() and key.isprintable()):
            # Told here: an error of the connection's would show the key.
            where = "given" if given else f"in {self.variable}"
            raise ValueError(f"The API key {where} has characters that no API key has")

    def reveal(self) -> str:
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


def without_login(value: Any) -> Any:
    """Leave out the user and the password of a URL; anything else is given back as it is."""
    return _LOGIN.sub("", value) if isinstance(value, str) else value


def hide_secrets(text: str, headers: Mapping[str, str] | None) -> str:
    """Put asterisks where a text, as of an error, repeats a secret that was sent in a header."""
    for name, value in (headers or {}).items():
        secret = value.rpartition(" ")[2]
        if secret and _SECRET.search(name):
            text = text.replace(secret, "***")
    return text
