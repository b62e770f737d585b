"""Error messages for settings with a wrong value: which values are expected."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel

from pgchroma.server.settings import GROUPS, ServerSettings

__all__ = ("reason", "shown")

MAX_SHOWN: Final = 120

_OF_THE_VALUE: Final = ("value_error", "directory", "together")
"""Types of errors whose message is complete."""

_TEXTS: Final = {
    "circuit_breaker": "settings such as `requests: 1000`",
    "open_telemetry": "settings such as `endpoint: http://localhost:4318`",
    "open_telemetry.endpoint": "an address such as http://localhost:4318",
    "allowed_hosts": "a list, or names with commas between them",
    "cors_allow_origins": "a list, or texts with commas between them",
}


def shown(value: Any) -> str:
    """Return a value for a message: cut, and quoted if it is empty or has spaces."""
    text = str(value)
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return cut if cut.isprintable() and cut and " " not in cut else repr(cut)


def reason(error: Any, path: tuple[str, ...]) -> str:
    """Return what is wrong with the setting of that path and which values are expected."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in _OF_THE_VALUE:
        return message
    if error["type"] == "missing":
        return "is missing"
    expected = _TEXTS.get(".".join(path)) or _expected(path)
    return f"expected {expected}" if expected else message


def _expected(path: tuple[str, ...]) -> str:
    model: type[BaseModel] = ServerSettings if len(path) == 1 else GROUPS[path[0]]
    field = model.model_fields[path[-1]]
    # A bound inside Annotated is in the field's metadata, or in that of a member of a union.
    kinds = list(_kinds(field.annotation))
    bounds = [*field.metadata, *_metadata(field.annotation)]
    if int in kinds:
        return f"a whole number {_range(bounds)}".strip()
    if float in kinds:
        return f"a number {_range(bounds)}".strip()
    options = [str(kind) for kind in kinds if isinstance(kind, str)]
    if bool in kinds:
        options = ["true", "false", *options]
    return _either(options)


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from get_args(annotation)
    elif origin is UnionType or hasattr(annotation, "__args__"):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


def _metadata(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        for extra in getattr(part, "__metadata__", ()):
            yield from getattr(extra, "metadata", (extra,))


def _range(bounds: list[Any]) -> str:
    lower = upper = ""
    for bound in bounds:
        match bound:
            case annotated_types.Ge(ge=value):
                lower = f"from {value}"
            case annotated_types.Gt(gt=value):
                lower = f"above {value}"
            case annotated_types.Le(le=value):
                upper = f"to {value}"
            case _:
                pass
    joint = " up " if lower.startswith("above") else " "
    return f"{lower}{joint}{upper}" if upper else lower


def _either(options: list[str]) -> str:
    if len(options) < 2:  # noqa: PLR2004  (a list of one needs no "or")
        return "".join(options)
    return f"{', '.join(options[:-1])} or {options[-1]}"
