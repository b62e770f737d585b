"""Which settings of a stored embedding function are applied without the reader's consent.

A client that opens a collection builds the function in its configuration, so everyone who can write
the configuration chooses what other clients run. An address would receive the reader's texts and
API key. The name of a variable would send any secret of the environment. Headers and keys would
bill texts to another account. A directory, or code that comes with a model, would be executed.
Such settings are applied only if the reader trusts the configuration. Arguments that a constructor
passes to a package are applied only if they are listed here, because the package's next version may
have new ones.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pgchroma.embeddings.keys import is_secret_name, is_variable_name, split_words
from pgchroma.embeddings.protocol import EmbeddingFunction

__all__ = ("check_trusted",)

_REACHING = frozenset(
    [
        "base", "endpoint", "gateway", "header", "headers", "host", "profile", "proxies", "proxy",
        "uri", "url",
    ]
)  # fmt: skip
"""Words in the names of settings that redirect texts, or bill them to another account."""

_CODE = "trust_remote_code"
_DIRECTORIES = frozenset(["dir", "directory", "folder", "path"])
"""Last words of the names of settings that are directories."""

_PASS_THROUGH = re.compile(r"(^|_)(kw)?args$")

_HARMLESS = frozenset(
    [
        "default_prompt_name", "local_files_only", "max_active_dims", "parallel", "prompts",
        "region_name", "revision", "similarity_fn_name", "truncate_dim",
    ]
)  # fmt: skip
"""The arguments that are passed to a package without consent."""

_PROSE = frozenset(["instruction", "instructions", "prompt", "prompts", "stop", "stopwords"])
"""Last words of the names of settings that are texts, which may begin with any character."""

_MODELS = frozenset(
    [
        "checkpoint", "dir", "directory", "encoder", "file", "folder", "location", "model",
        "models", "name", "path", "pretrained", "repo", "repository", "source", "tokenizer",
        "weights",
    ]
)  # fmt: skip
"""Words in the names of settings that packages use as a model's name or a directory."""

_PREFIX = re.compile(r"[a-z]:|[a-z][a-z0-9+.-]*:[/\\]|(file|hf-hub|local-dir):", re.IGNORECASE)
"""A drive, a URL, or a scheme of OpenCLIP's, which loads a configuration that can name code."""

_NO_CONSTRUCTOR = EmbeddingFunction.__init__
"""It accepts any argument and ignores it."""


def check_trusted(name: str, function: type, config: Mapping[str, Any]) -> None:
    """Check that a stored configuration has only harmless settings, such as a model's name.

    Args:
        name: The function's name in the registry.
        function: The function's class. The defaults of its constructor are harmless.
        config: The stored settings.

    Raises:
        ValueError: A setting is an address, a variable of a key, another account, a directory,
            code, or an argument of unknown effect. The message names the setting.
    """
    checks = _checks(function)
    for path, value in _entries(config):
        if any(is_harmful(path, value) for is_harmful in checks):
            raise ValueError(
                f"The stored configuration of {name} sets {'.'.join(path):.100} to {value!r:.100}, "
                "which pgchroma does not apply by default: it could send your texts and keys "
                "elsewhere, or run code. Pass the embedding function yourself, or set "
                "Settings(pgchroma_trust_stored_functions=True)"
            )


_Check = Callable[[tuple[str, ...], object], bool]
"""Whether the setting at a path is harmful."""


def _checks(function: type) -> list[_Check]:
    parameters = inspect.signature(function).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    vendor_variable = getattr(function, "vendor_env_var", None)

    def is_default(path: tuple[str, ...], value: object) -> bool:
        if len(path) == 1 and value == defaults.get(path[0]):
            return True
        return is_variable_name(path[-1]) and value == vendor_variable

    def is_harmful(path: tuple[str, ...], value: object) -> bool:
        return not is_default(path, value) and (
            _is_code(path, value)
            or _is_unknown(path)
            or _redirects_traffic(path, value)
            or _is_directory(path, value)
        )

    checks: list[_Check] = [is_harmful]
    if getattr(function, "reads_files", True):
        # Even the default model can be the name of an existing directory.
        checks.append(_exists)
    own = _own_arguments(function, parameters)
    if own is not None:
        checks.append(lambda path, _: len(path) == 1 and path[0] not in own | _HARMLESS)
    return checks


def _own_arguments(
    function: Any, parameters: Mapping[str, inspect.Parameter]
) -> frozenset[str] | None:
    """Return the arguments that a constructor does not pass to a package.

    `None` means that it passes none to a package.
    """
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds or function.__init__ is _NO_CONSTRUCTOR:
        return None
    return frozenset(parameters) | frozenset(getattr(function, "stored_arguments", ()))


def _is_code(path: tuple[str, ...], value: object) -> bool:
    return path[-1] == _CODE and value is not None and value is not False


def _is_unknown(path: tuple[str, ...]) -> bool:
    is_passed_through = len(path) > 1 and _PASS_THROUGH.search(path[-2]) is not None
    return is_passed_through and path[-1] not in _HARMLESS and path[-1] != _CODE


def _redirects_traffic(path: tuple[str, ...], value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    if "://" in value or not _DIRECTORIES.isdisjoint(split_words(path[-1])[-1:]):
        return True
    return any(
        is_secret_name(key) or is_variable_name(key) or not _REACHING.isdisjoint(split_words(key))
        for key in path
    )


def _is_directory(path: tuple[str, ...], value: object) -> bool:
    """Whether a text has the form of a path on any system: absolute, UNC, or with dot segments."""
    if not isinstance(value, str) or _is_prose(path):
        return False
    text = value.strip()
    if text.startswith(("/", "~")) or "\\" in text or _PREFIX.match(text):
        return True
    return any(part and not part.strip(". ") for part in text.split("/"))


def _exists(path: tuple[str, ...], value: object) -> bool:
    """Whether the name of a model is also the name of a file or directory, which a package uses."""
    if not isinstance(value, str) or _is_prose(path) or not value.strip():
        return False
    if _MODELS.isdisjoint(word for key in path for word in split_words(key)):
        return False
    # sentence-transformers adds its own name to a name without an owner.
    names = (value, value.strip(), f"sentence-transformers/{value}")
    return any(map(os.path.lexists, names))


def _is_prose(path: tuple[str, ...]) -> bool:
    return any(not _PROSE.isdisjoint(split_words(key)[-1:]) for key in path)


def _entries(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all values of a configuration, at any depth, with the path of their keys."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield (*path, str(key)), each
            yield from _entries(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for each in value:
            yield path, each
            yield from _entries(each, path)
