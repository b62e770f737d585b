"""API keys: where they are found, and how they stay out of sight."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ("ApiKey", "without_secrets")

_SECRET = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)


class ApiKey:
    """A key that no repr, log or configuration shows.

    Attributes:
        variable: The environment variable a collection remembers in the key's stead.
    """

    __slots__ = ("_given", "variable")

    def __init__(self, given: str | None, variable: str, usual: str | None = None) -> None:
        """Find a key: the one given, or the environment's.

        Args:
            given: The key itself; it is not remembered.
            variable: The environment variable that has it otherwise.
            usual: The variable that the vendor's own programs read. Where it is set it counts
                instead of the other, as in Chroma.

        Raises:
            ValueError: There is none.
        """
        if given is not None:
            warnings.warn(
                "Direct api_key configuration will not be persisted. "
                "Please use environment variables via api_key_env_var for persistent storage.",
                DeprecationWarning,
                stacklevel=4,
            )
        self.variable = usual if usual is not None and usual in os.environ else variable
        self._given = given
        if not self.reveal():
            raise ValueError(f"The {self.variable} environment variable is not set.")

    def reveal(self) -> str:
        """Return the key, to be sent; the environment's as it is now."""
        return self._given or os.environ.get(self.variable, "")

    def __repr__(self) -> str:
        return f"ApiKey({self.variable})"


def without_secrets(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave out the entries whose names say that they are secret, as of headers to be stored."""
    if settings is None:
        return None
    return {key: value for key, value in settings.items() if not _SECRET.search(key)}
