"""Helpers of the planner's tests: collections with segments, and the executed plans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

import pgchroma
from pgchroma.compactor import passes
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import Build
from pgchroma.store.activity import Activity
from pgchroma.store.context import StoreContext
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.layout.tables import CollectionTables

SPACES = ("l2", "ip", "cosine")
QUANTIZATIONS = ("none", "halfvec", "bit")


def quiet(url: str, **options: Any) -> pgchroma.ClientAPI:
    """A direct client that builds no indexes by itself."""
    settings = pgchroma.Settings(allow_reset=True, pgchroma_compaction=False, **options)
    return pgchroma.PostgresClient(url, settings)


def context_of(client: pgchroma.ClientAPI) -> StoreContext:
    known: StoreContext = client._backend._context  # type: ignore[attr-defined]
    return known


def forget(client: pgchroma.ClientAPI) -> None:
    """Have the client look indexes up with its next call."""
    context_of(client).forget()


def create(client: pgchroma.ClientAPI, name: str = "papers", **hnsw: Any) -> pgchroma.Collection:
    """A collection whose tail may be indexed at any length."""
    configuration: Any = {"hnsw": {"sync_threshold": 10, "batch_size": 2, **hnsw}}
    return client.create_collection(name, embedding_function=None, configuration=configuration)


def compact(
    url: str, collection: pgchroma.Collection, *, is_idle: bool = True, merges_all: bool = False
) -> None:
    """Build all pending indexes, and make the client aware of them."""
    with Compaction(url, CompactionSettings(segment_bytes=0), Event()) as compactor:
        (found,) = compactor.collections({collection.id})
        assert compactor.compact(found, is_idle=is_idle, merges_all=merges_all)
    collection._backend._context.forget()  # type: ignore[attr-defined]


def seal(url: str, collection: pgchroma.Collection) -> None:
    """Turn only the tail into a segment."""
    settings = CompactionSettings(segment_bytes=0)
    with Compaction(url, settings, Event()) as compactor:
        (found,) = compactor.collections({collection.id})
        seen = compactor.inspect(found)
        build = Build(seen.tail_start, seen.end_pos, seen.tail)
        steps = passes.build_segment(found, build, settings)
        compactor._session.run_interruptible(found, steps)
    collection._backend._context.forget()  # type: ignore[attr-defined]


def index_for(
    url: str, collection: pgchroma.Collection, *indexes: SecondaryIndex, is_known: bool = True
) -> None:
    """Build secondary indexes, however small the collection is."""
    with Compaction(url, CompactionSettings(), Event()) as compactor:
        (found,) = compactor.collections({collection.id})
        for index in indexes:
            steps = passes.build_secondary(found, index, 1)
            compactor._session.run_interruptible(found, steps)
    if is_known:
        collection._backend._context.forget()  # type: ignore[attr-defined]


def record_demand(url: str, observed: Activity) -> None:
    """Record which indexes filters missed, as the compactor's thread does."""
    missing = observed.drain().demanded
    with Compaction(url, CompactionSettings(), Event()) as compactor:
        compactor.record_demand(missing)


def tables(collection: pgchroma.Collection) -> CollectionTables:
    return CollectionTables("default_tenant__default_database", collection.id)


def nearest(
    space: str, vectors: NDArray[Any], query: NDArray[Any], which: Sequence[int] | None = None
) -> tuple[list[int], NDArray[np.float64]]:
    """Which rows are nearest, nearest first and the older before the newer; and how far all are."""
    vectors, query = vectors.astype(np.float64), np.asarray(query, dtype=np.float64)
    if space == "l2":
        distances = ((vectors - query) ** 2).sum(axis=1)
    else:
        dots = vectors @ query
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        distances = 1 - dots
        if space == "cosine":
            distances = np.where(norms > 0, 1 - dots / np.where(norms > 0, norms, 1), 1.0)
    rows = np.arange(len(vectors)) if which is None else np.asarray(which, dtype=int)
    with np.errstate(over="ignore"):
        order = rows[np.lexsort((rows, distances[rows].astype(np.float32)))]
    return order.tolist(), distances


@dataclass
class Watched:
    """The statements that a client's only connection executed.

    Attributes:
        plans: PostgreSQL's plans of the executed statements, without the look-ups in the catalog.
    """

    plans: list[dict[str, Any]] = field(default_factory=list)

    def index_names(self) -> set[str]:
        """The indexes that ran in the last plan."""
        return {
            node["Index Name"]
            for node in nodes(self.plans[-1]["Plan"])
            if "Index Name" in node and node["Actual Loops"]
        }

    @property
    def is_generic(self) -> bool:
        """Whether the last plan was made for all values of its parameters."""
        return "$1" in json.dumps(self.plans[-1]["Plan"])


@contextmanager
def watched(client: pgchroma.ClientAPI, *settings: str) -> Iterator[Watched]:
    """Record the executed plans of a client that has one connection."""
    seen = Watched()

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        _, is_plan, text = (diagnostic.message_primary or "").partition("plan:\n")
        if is_plan:
            plan = json.loads(text)
            if "pgchroma.collections" not in plan["Query Text"]:
                seen.plans.append(plan)

    pool = client._backend._source._pool  # type: ignore[attr-defined]
    with pool.connection() as connection:
        for statement in (*_WATCHING, *settings):
            connection.execute(statement)
        connection.add_notice_handler(note)
    try:
        yield seen
    finally:
        with pool.connection() as connection:
            connection.remove_notice_handler(note)
            connection.execute("reset all")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


_WATCHING = (
    "load 'auto_explain'",
    "set auto_explain.log_min_duration = 0",
    "set auto_explain.log_analyze = on",
    "set auto_explain.log_format = json",
    "set client_min_messages = log",
)
