"""Handlers turn operations into SQL, and drivers run it. Importing this registers every handler."""

from pgchroma.store import collections, credentials, databases, sql_view, status, tenancy
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handlers
from pgchroma.store.records import deletions, reads, writes
from pgchroma.store.reembedding import handlers as reembedding
from pgchroma.store.reembedding import switch
from pgchroma.store.running._async.driver import run as run_async
from pgchroma.store.running._sync.driver import run
from pgchroma.store.search import explain, queries, recall, searches

__all__ = (
    "StoreContext",
    "collections",
    "credentials",
    "databases",
    "deletions",
    "explain",
    "handlers",
    "queries",
    "reads",
    "recall",
    "reembedding",
    "run",
    "run_async",
    "searches",
    "sql_view",
    "status",
    "switch",
    "tenancy",
    "writes",
)
