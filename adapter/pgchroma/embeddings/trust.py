"""What a stored configuration may decide by itself, and what only its reader may.

Whoever can write a collection's configuration chooses what everybody who opens the collection runs.
An address would be sent the reader's texts and key, the name of a variable would send any secret of
the environment, and remote code would be run. So these count only for readers who say so.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ("check_trusted",)

_ADDRESS = re.compile(r"(^|_)(url|uri|base|host|endpoint|gateway|proxy|proxies)($|_)|^api_base$")
_VARIABLE = re.compile(r"env_var$|_env$|^variable$")


def check_trusted(name: str, function: type, config: Mapping[str, Any]) -> None:
    """Refuse a stored configuration that asks for more than a model's name and numbers.

    Args:
        name: The function's name in the registry.
        function: Its class; what its constructor takes by default is harmless.
        config: Its stored settings.

    Raises:
        ValueError: An address, a key's variable or remote code is asked for; the message says
            which, and what to do.
    """
    defaults = {
        key: parameter.default for key, parameter in inspect.signature(function).parameters.items()
    }
    usual = getattr(function, "usual_variable", None)
    for path, value in _leaves(config):
        key = path[-1]
        if value in (None, False, "") or (len(path) == 1 and value == defaults.get(key)):
            continue
        if _VARIABLE.search(key) and value == usual:
            continue
        if key == "trust_remote_code" or _is_reaching(key, value):
            raise ValueError(
                f"The stored configuration of {name} sets {'.'.join(path)} to {value!r:.100}, "
                "which is not followed unasked: whoever stored it would decide where your texts "
                "and keys go and what code runs. Pass the embedding function yourself, or allow "
                "it with Settings(pgchroma_trust_stored_functions=True)"
            )


def _is_reaching(key: str, value: object) -> bool:
    if not isinstance(value, str):
        return False
    return bool(_ADDRESS.search(key) or _VARIABLE.search(key) or "://" in value)


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, path)
    elif path:
        yield path, value
