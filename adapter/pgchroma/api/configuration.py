"""Chroma's import path for the configurations of Chroma 0.5 and 0.6."""

from pgchroma.client.arguments.configuration import (
    CollectionConfigurationInterface,
    HNSWConfigurationInterface,
)

__all__ = (
    "CollectionConfiguration",
    "CollectionConfigurationInterface",
    "HNSWConfiguration",
    "HNSWConfigurationInterface",
)

CollectionConfiguration = CollectionConfigurationInterface
HNSWConfiguration = HNSWConfigurationInterface
