"""What a stored configuration may decide by itself, and what only its reader may.

Whoever can write a collection's configuration chooses what everybody who opens the collection runs.
An address would be sent the reader's texts and key, the name of a variable would send any secret of
the environment, headers and keys would send texts to another's account, and code that comes with a
model would be run. So these count only for readers who say so. Of the further arguments that a
function hands on to its vendor's package those are followed that are known to do no harm: which
others there are changes with the package.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pgchroma.embeddings.keys import is_secret_name, is_variable_name, words_of

__all__ = ("check_trusted",)

_REACHING = frozenset(
    [
        "base", "endpoint", "gateway", "header", "headers", "host", "profile", "proxies", "proxy",
        "uri", "url",
    ]
)  # fmt: skip
"""Words in the names of settings that say where texts go, or on whose account."""

_CODE = "trust_remote_code"
_PLACES = frozenset(["cache_dir", "cache_folder", "specific_model_path"])
_HANDED_ON = re.compile(r"(^|_)(kw)?args$")

_HARMLESS = frozenset(
    [
        "default_prompt_name", "local_files_only", "max_active_dims", "parallel", "prompts",
        "region_name", "revision", "similarity_fn_name", "truncate_dim",
    ]
)  # fmt: skip


def check_trusted(name: str, function: type, config: Mapping[str, Any]) -> None:
    """Refuse a stored configuration that asks for more than a model's name and numbers.

    Args:
        name: The function's name in the registry.
        function: Its class; what its constructor takes by default is harmless.
        config: Its stored settings.

    Raises:
        ValueError: An address, a key's variable, another's account, a place for files, code or an
            argument of unknown effect is asked for; the message says which, and what to do.
    """
    defaults = {
        key: parameter.default for key, parameter in inspect.signature(function).parameters.items()
    }
    usual = getattr(function, "usual_variable", None)
    for path, value in _entries(config):
        if len(path) == 1 and value == defaults.get(path[0]):
            continue
        if is_variable_name(path[-1]) and value == usual:
            continue
        if _is_code(path, value) or _is_unknown(path) or _is_reaching(path, value):
            raise ValueError(
                f"The stored configuration of {name} sets {'.'.join(path)} to {value!r:.100}, "
                "which is not followed unasked: whoever stored it would decide where your texts "
                "and keys go and what code runs. Pass the embedding function yourself, or allow "
                "it with Settings(pgchroma_trust_stored_functions=True)"
            )


def _is_code(path: tuple[str, ...], value: object) -> bool:
    return path[-1] == _CODE and value is not None and value is not False


def _is_unknown(path: tuple[str, ...]) -> bool:
    is_handed_on = len(path) > 1 and _HANDED_ON.search(path[-2]) is not None
    return is_handed_on and path[-1] not in _HARMLESS and path[-1] != _CODE


def _is_reaching(path: tuple[str, ...], value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    if "://" in value or path[-1] in _PLACES:
        return True
    return any(
        is_secret_name(key) or is_variable_name(key) or not _REACHING.isdisjoint(words_of(key))
        for key in path
    )


def _entries(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what a configuration has, and what is in that, each with the keys that lead there."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield (*path, str(key)), each
            yield from _entries(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for each in value:
            yield path, each
            yield from _entries(each, path)
