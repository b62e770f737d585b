"""Chroma's import path for configurations as Chroma 0.5 and 0.6 had them."""

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
