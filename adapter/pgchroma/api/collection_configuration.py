"""Chroma's import path for the shapes of a collection's configuration."""

from pgchroma.client.arguments.configuration import (
    CollectionConfiguration,
    HNSWConfiguration,
    SpannConfiguration,
    UpdateCollectionConfiguration,
    UpdateHNSWConfiguration,
    UpdateSpannConfiguration,
)

__all__ = (
    "CollectionConfiguration",
    "CreateCollectionConfiguration",
    "CreateHNSWConfiguration",
    "CreateSpannConfiguration",
    "HNSWConfiguration",
    "SpannConfiguration",
    "UpdateCollectionConfiguration",
    "UpdateHNSWConfiguration",
    "UpdateSpannConfiguration",
)

CreateCollectionConfiguration = CollectionConfiguration
CreateHNSWConfiguration = HNSWConfiguration
CreateSpannConfiguration = SpannConfiguration
