"""Chroma's import path for the types of a collection's configuration."""

from pgchroma.client.arguments.configuration import (
    CollectionConfiguration,
    CreateCollectionConfiguration,
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

CreateHNSWConfiguration = HNSWConfiguration
CreateSpannConfiguration = SpannConfiguration
