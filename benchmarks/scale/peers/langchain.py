"""langchain-postgres' PGVectorStore, used as its documentation shows, on a separate PostgreSQL.

The metadata keys that are filtered by have columns, and the HNSW index is applied after loading.
It adds records one by one, each in a transaction: only some are added by itself, the rest is copied
into its table.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import DistanceStrategy, HNSWIndex, HNSWQueryOptions
from sqlalchemy import URL

from scale.filters import Condition
from scale.peers.interface import EF_SEARCH

TABLE = "bench"
KEYS = ("n", "tenth", "percent", "permille")
COPY = (
    f"copy {TABLE} (langchain_id, content, embedding, {', '.join(KEYS)}, langchain_metadata)"
    " from stdin"
)


class Langchain:
    """A vector store, with a server that ends with it."""

    biggest_batch = 1_000
    most_added = 2_000
    many_processes = True
    searches_documents = False

    def __init__(self, directory: Path) -> None:
        self._server = subprocess.Popen(
            [os.environ["PGCHROMA_PYTHON"], "-m", "scale.peers.serve_postgres", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout
        self._address: dict[str, Any] = json.loads(self._server.stdout.readline())
        self._engine = PGEngine.from_connection_string(
            URL.create(
                "postgresql+asyncpg",
                username=self._address["user"],
                database=self._address["dbname"],
                query={"host": self._address["host"], "port": self._address["port"]},
            )
        )
        self._store: Any = None
        if self._run(f"select 1 from pg_tables where tablename = '{TABLE}'"):
            self._open(EF_SEARCH)

    def create(self, dimension: int) -> None:
        """Make the table."""
        self._run("create extension if not exists vector")
        self._engine.init_vectorstore_table(
            TABLE,
            dimension,
            id_column=Column("langchain_id", "TEXT"),
            metadata_columns=[Column(key, "INTEGER") for key in KEYS],
        )
        self._open(EF_SEARCH)

    def drop(self) -> None:
        """Drop the table."""
        self._engine.drop_table(TABLE)

    def add(self, batch: dict[str, Any]) -> None:
        """Add records by the store."""
        self._store.add_embeddings(
            texts=batch["documents"],
            embeddings=batch["embeddings"].tolist(),
            metadatas=batch["metadatas"],
            ids=batch["ids"],
        )

    def load_rest(self, batch: dict[str, Any]) -> None:
        """Copy records into the store's table."""
        with self._connect() as connection, connection.cursor().copy(COPY) as copy:
            for id, document, embedding, metadata in zip(
                batch["ids"],
                batch["documents"],
                batch["embeddings"].tolist(),
                batch["metadatas"],
                strict=True,
            ):
                keys = [metadata[key] for key in KEYS]
                rest = {key: value for key, value in metadata.items() if key not in KEYS}
                copy.write_row((id, document, str(embedding), *keys, json.dumps(rest)))

    def wait_until_indexed(self) -> None:
        """Do nothing: an index is complete as soon as it exists."""

    def build_index(self) -> None:
        """Apply the index."""
        self._store.apply_vector_index(
            HNSWIndex(
                name="bench_hnsw",
                m=16,
                ef_construction=100,
                distance_strategy=DistanceStrategy.EUCLIDEAN,
            )
        )

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Not measured: the store has no way to replace an embedding alone."""
        raise NotImplementedError

    def delete(self, ids: list[str]) -> None:
        """Delete records."""
        self._store.delete(ids)

    def count(self) -> int:
        """Count the records: the store cannot."""
        raise NotImplementedError

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a search by vector."""
        return lambda: self._search(query, None)

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return a search with a filter, which it spells as Chroma does."""
        return lambda: self._search(query, condition.where)

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Not measured: the store searches for one vector a call."""
        raise NotImplementedError

    def get(self, condition: Condition) -> Callable[[], int]:
        """Not measured."""
        raise NotImplementedError

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Not measured."""
        raise NotImplementedError

    def set_ef_search(self, ef_search: int) -> None:
        """Reopen the store with the setting."""
        self._open(ef_search)

    def limit(self, data: Any) -> float | None:
        """Return `None`: the hand-written peer measures the database's limit."""
        del data
        return None

    def close(self) -> None:
        """Stop the server."""
        assert self._server.stdin
        self._engine._run_as_sync(self._engine.close())
        self._server.stdin.close()
        self._server.wait()

    def _open(self, ef_search: int) -> None:
        self._store = PGVectorStore.create_sync(
            self._engine,
            embedding_service=DeterministicFakeEmbedding(size=1),
            table_name=TABLE,
            distance_strategy=DistanceStrategy.EUCLIDEAN,
            id_column="langchain_id",
            metadata_columns=list(KEYS),
            index_query_options=HNSWQueryOptions(ef_search=ef_search),
        )

    def _search(self, query: np.ndarray, where: dict[str, Any] | None) -> list[str]:
        found = self._store.similarity_search_with_score_by_vector(
            query.tolist(), k=10, filter=where
        )
        return [document.id for document, _ in found]

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self._address, autocommit=True)

    def _run(self, statement: str) -> list[Any]:
        with self._connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
