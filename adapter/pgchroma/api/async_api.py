"""Chroma's import path for the types of asynchronous clients."""

from pgchroma.client._async.client import AsyncAdminClient as AsyncAdminAPI
from pgchroma.client._async.client import AsyncClient as AsyncClientAPI

__all__ = ("AsyncAdminAPI", "AsyncClientAPI")
