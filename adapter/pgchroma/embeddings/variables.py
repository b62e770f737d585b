"""Variables in the settings of a function: ``$var:name``, or ``$var:name:default``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ("get_var", "resolve_variables", "set_var")

_PREFIX: Final = "$var:"

_variables: dict[str, str] = {}


def set_var(name: str, value: str) -> None:
    """Set a variable for this process.

    Raises:
        ValueError: The name contains a colon.
    """
    if ":" in name:
        raise ValueError("Variable names cannot contain colons")
    _variables[name] = value


def get_var(name: str) -> str:
    """Return the value of a variable.

    Raises:
        KeyError: The variable is not set.
    """
    return _variables[name]


def resolve_variables(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the values of their variables.

    Raises:
        ValueError: A variable is not set, and the setting has no default.
    """
    return {key: _resolved(key, value) for key, value in settings.items()}


def _resolved(key: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return value
    name, separator, default = value.removeprefix(_PREFIX).partition(":")
    if name in _variables:
        return _variables[name]
    if separator:
        return default
    raise ValueError(
        f"{key}: the variable {name!r:.100} is not set; call "
        f'get_registry().set_var("{name:.100}", …) first, or write $var:{name:.100}:default'
    )
