"""SQL: what operations become, and how it is run. Importing this registers every handler."""

from pgchroma.store import (
    collections,
    credentials,
    databases,
    deletions,
    indexing,
    queries,
    reads,
    reembedding,
    tenancy,
    writes,
)
from pgchroma.store.drivers import run, run_async
from pgchroma.store.handlers import handlers
from pgchroma.store.locations import Environment

__all__ = (
    "Environment",
    "collections",
    "credentials",
    "databases",
    "deletions",
    "handlers",
    "indexing",
    "queries",
    "reads",
    "reembedding",
    "run",
    "run_async",
    "tenancy",
    "writes",
)
