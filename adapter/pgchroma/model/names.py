"""Validate the names of tenants, databases and collections."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.plain import plain_scalar, shown
from pgchroma.model.text import check_text

__all__ = (
    "DEFAULT_DATABASE",
    "DEFAULT_TENANT",
    "check_database_looked_up",
    "check_looked_up",
    "check_name",
    "check_resource_name",
    "check_tenant_name",
)

DEFAULT_TENANT: Final = "default_tenant"
DEFAULT_DATABASE: Final = "default_database"

_SHORTEST: Final = 3
_LONGEST: Final = 512

_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]", re.ASCII)


def check_name(name: object, field: str = "name") -> str:
    """Return `name` if it is a valid name of a collection or a database.

    Raises:
        InvalidArgumentError: It is not; the message starts with `field` and names the broken rule.
    """
    name = plain_scalar(name)
    if not isinstance(name, str):
        raise InvalidArgumentError(f"Validation error: {field}: Expected a str, got {shown(name)}")
    parts = name.split("+")
    if len(parts) > 2:  # noqa: PLR2004
        raise _refused(
            field, f"a name to contain at most one topology:  Got two `+` in {_cut(name)}"
        )
    for part in parts:
        _check_part(part, field)
    return name


def check_tenant_name(name: object) -> str:
    """Return `name` if it is a valid name of a tenant: three or more characters of any kind."""
    name = plain_scalar(name)
    if not isinstance(name, str):
        raise InvalidArgumentError(f"Validation error: name: Expected a str, got {shown(name)}")
    if len(name) < 3:  # noqa: PLR2004
        raise InvalidArgumentError(
            f"Validation error: name: Expected a tenant name of at least 3 characters, got {name!r}"
        )
    check_text(name, "Validation error: name")
    return name


def check_resource_name(name: object) -> str:
    """Return `name` if it is a valid resource name, which is a part of names with colons."""
    text = check_looked_up(name)
    if not text or ":" in text:
        raise InvalidArgumentError(
            f"Validation error: resource_name: Expected a name without colons, got {shown(text)}"
        )
    return text


def check_looked_up(name: object) -> str:
    """Return `name` if it can be looked up, even if it is not a valid name for a new entity."""
    name = plain_scalar(name)
    if not isinstance(name, str):
        raise InvalidArgumentError(f"Expected a name to be a str, got {shown(name)}")
    check_text(name, "name")
    return name


def check_database_looked_up(name: object) -> str:
    """Return `name` if a database can be looked up by it.

    Raises:
        InvalidArgumentError: It is shorter than any database's name.
    """
    if len(text := check_looked_up(name)) < _SHORTEST:
        raise InvalidArgumentError(
            f"database name must be at least {_SHORTEST} characters, got {text!r}"
        )
    return text


def _check_part(part: str, field: str) -> None:
    if not _ALLOWED.fullmatch(part):
        raise _refused(
            field,
            "a name containing 3-512 characters from [a-zA-Z0-9._-], "
            f"starting and ending with a character in [a-zA-Z0-9]. Got: {_cut(part)}",
        )
    if ".." in part:
        raise _refused(
            field, f"a name that does not contains two consecutive periods (..). Got {_cut(part)}"
        )
    if _is_ip_address(part):
        raise _refused(field, f"a name that is not a valid ip address. Got {_cut(part)}")


def _cut(name: str) -> str:
    # The longest valid name is shown in full.
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _refused(field: str, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Validation error: {field}: Expected {expected}")
