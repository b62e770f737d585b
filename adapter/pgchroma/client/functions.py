"""Which embedding function a collection uses: the caller's, the stored one, or none.

The caller's function has priority, unless it is the default function, which is also that of a
caller who passes none; then the stored function is built again. A collection without a stored
function has none until the caller passes one. Functions of LanceDB's kind are adapted to Chroma's
wherever they enter.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

from pgchroma.client.callers import is_called_by_langchain
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.lancedb.functions import MultiModalEmbeddingFunction
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.registry import (
    config_to_embedding_function,
    embedding_function_to_config,
)
from pgchroma.errors import MissingExtraError
from pgchroma.extras import check_installed
from pgchroma.model.types import CollectionMetadata

__all__ = (
    "Function",
    "FunctionLike",
    "check_conflict",
    "configuration_json",
    "configuration_update_json",
    "resolve",
)

Function: TypeAlias = EmbeddingFunction[Any]
FunctionLike: TypeAlias = Function | MultiModalEmbeddingFunction
"""An embedding function of either kind: Chroma's or LanceDB's."""

_DEFAULT = "default"

_SETTINGS = ("hnsw", "spann", "embedding_function", "text")


def configuration_json(
    configuration: Mapping[str, Any] | None,
    metadata: CollectionMetadata | None,
    function: FunctionLike | None,
) -> tuple[dict[str, Any], Function | None]:
    """Return the configuration of a request that creates a collection.

    Returns:
        The configuration in Chroma's persisted form, and the function that the collection will use.

    Raises:
        ValueError: Two different functions were passed, or a key is unknown.
    """
    if configuration is not None and not isinstance(configuration, Mapping):
        raise ValueError(f"Expected configuration to be a dict, got {configuration!r}")
    wanted = dict(configuration or {})
    if unknown := wanted.keys() - _SETTINGS:
        raise ValueError(
            f"configuration: unknown key {min(map(str, unknown))!r:.100}, expected "
            f"{', '.join(_SETTINGS)}; the distance is {{'hnsw': {{'space': …}}}}"
        )
    configured = chroma_function(wanted.pop("embedding_function", None))
    function = _one_function(configured, chroma_function(function))
    if function is None and is_called_by_langchain():
        return {**wanted, "embedding_function": {"type": "unknown"}}, DefaultEmbeddingFunction()
    if function is None:
        return {**wanted, "embedding_function": {"type": "legacy"}}, None
    if isinstance(function, DefaultEmbeddingFunction):
        _warn_if_unusable()
    persisted = embedding_function_to_config(function)
    if persisted["type"] == "known":
        _take_space(wanted, metadata, function)
    return {**wanted, "embedding_function": persisted}, function


def _warn_if_unusable() -> None:
    """Warn before the first write if the default function cannot embed here.

    It is not an error: callers who pass embeddings seldom also pass ``embedding_function=None``.
    """
    try:
        check_installed(*DefaultEmbeddingFunction.PACKAGES, extra="onnx")
    except MissingExtraError as error:
        warnings.warn(
            f"The default embedding function cannot be used: {error}. "
            "If you pass your own embeddings, also pass embedding_function=None",
            stacklevel=2,
        )


def configuration_update_json(
    changes: Mapping[str, Any], persisted: Mapping[str, Any] | None, *, has_spann: bool
) -> tuple[dict[str, Any], Function | None]:
    """Return the configuration of a request that modifies a collection.

    Args:
        changes: The changes that the caller passed.
        persisted: The stored embedding function.
        has_spann: Whether the collection has settings of SPANN instead of HNSW.

    Raises:
        ValueError: The new function differs from the stored one, or refuses the change.
    """
    wanted = dict(changes)
    function = chroma_function(wanted.pop("embedding_function", None))
    other, own = ("hnsw", "SPANN") if has_spann else ("spann", "HNSW")
    if wanted.get(other) is not None:
        raise ValueError(f"Trying to update {other.upper()} config but schema has {own}")
    if function is None:
        return wanted, None
    new = embedding_function_to_config(function)
    if persisted is not None and persisted.get("type") == "known":
        if new.get("name") != persisted["name"]:
            raise ValueError(
                "Cannot change the embedding function of a collection to another: "
                f"new: {new.get('name')} vs persisted: {persisted['name']}"
            )
        function.validate_config_update(dict(persisted["config"]), dict(new["config"]))
    return {**wanted, "embedding_function": new}, function


def check_conflict(function: FunctionLike | None, persisted: Mapping[str, Any] | None) -> None:
    """Refuse a function that differs from the one that the collection stores.

    Raises:
        ValueError: The functions differ. The default function is always accepted.
    """
    if function is None or persisted is None or persisted.get("type") != "known":
        return
    name = _name(chroma_function(function))
    if name not in (_DEFAULT, persisted["name"]):
        raise ValueError(
            "An embedding function already exists in the collection configuration, and a new one "
            "is provided. If this is intentional, please embed documents separately. Embedding "
            f"function conflict: new: {name} vs persisted: {persisted['name']}"
        )


def resolve(
    function: Function | None, persisted: Mapping[str, Any] | None, *, is_trusted: bool
) -> Function:
    """Return the function to embed with.

    Args:
        function: The function that the caller passed.
        persisted: The configuration that the collection stores.
        is_trusted: Whether to apply addresses and remote code that this configuration names.

    Raises:
        ValueError: There is no function, or the stored one cannot be built here.
    """
    if function is not None and _name(function) != _DEFAULT:
        return function
    kind = None if persisted is None else persisted.get("type")
    if persisted is not None and kind == "known":
        return config_to_embedding_function(dict(persisted), is_trusted=is_trusted)
    if function is None or kind == "legacy":
        raise ValueError(
            "You must provide an embedding function to compute embeddings."
            "https://docs.trychroma.com/guides/embeddings"
        )
    return function


def _one_function(configured: Function | None, given: Function | None) -> Function | None:
    if configured is None:
        return given
    if given is not None and _name(given) not in (_DEFAULT, _name(configured)):
        raise ValueError(
            "Multiple embedding functions provided. Please provide only one. Embedding function "
            f"conflict: {_name(given)} vs {_name(configured)}"
        )
    return configured


def _take_space(
    wanted: dict[str, Any], metadata: CollectionMetadata | None, function: Function
) -> None:
    index = "spann" if wanted.get("spann") is not None else "hnsw"
    settings = dict(wanted.get(index) or {})
    if "space" not in settings and "hnsw:space" not in (metadata or {}):
        settings["space"] = function.default_space()
        wanted[index] = settings
    space = settings.get("space", function.default_space())
    if space not in function.supported_spaces():
        warnings.warn(
            f"space {space} is not supported by {_name(function)}. Supported spaces: "
            f"{function.supported_spaces()}",
            UserWarning,
            stacklevel=2,
        )


def _name(function: Function) -> str:
    named = getattr(type(function), "name", None)
    if named is None or named is EmbeddingFunction.name:
        # A class that does not define name() cannot be stored, but it is not the default function.
        return type(function).__name__
    return function.name()
