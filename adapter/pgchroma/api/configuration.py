"""Configurations as Chroma 0.5 and 0.6 had them: objects, whose parameters have other names.

They are dictionaries of today's form, so they can be passed as ``configuration``.
"""

from __future__ import annotations

from typing import Any

__all__ = (
    "CollectionConfiguration",
    "CollectionConfigurationInterface",
    "HNSWConfiguration",
    "HNSWConfigurationInterface",
)

_RENAMED = {"M": "max_neighbors"}


class HNSWConfigurationInterface(dict[str, Any]):
    """The settings of an HNSW index: `space`, `ef_construction`, `ef_search`, `M` and others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__({_RENAMED.get(name, name): value for name, value in settings.items()})


class CollectionConfigurationInterface(dict[str, Any]):
    """The configuration of a collection."""

    def __init__(self, hnsw_configuration: HNSWConfigurationInterface | None = None) -> None:
        super().__init__({} if hnsw_configuration is None else {"hnsw": hnsw_configuration})


CollectionConfiguration = CollectionConfigurationInterface
HNSWConfiguration = HNSWConfigurationInterface
