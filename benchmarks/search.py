"""Searches by sparse vectors and by words, alone, with filters and with embeddings.

Run by ``make bench-search``, with ``BENCH_DOCUMENTS`` documents. Every search of a kind runs in
turns with the others. Writes docs/benchmarks-search.md. ``make bench-search-large`` measures BM25
over a million documents without embeddings, and writes docs/benchmarks-search-large.md.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

import pgchroma
from pgchroma import (
    IntInvertedIndexConfig,
    K,
    Knn,
    Rrf,
    Schema,
    Search,
    SparseVector,
    SparseVectorIndexConfig,
    Text,
)
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.embedded import EmbeddedPostgres
from revision import revision
from tables import short, table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = int(os.environ.get("BENCH_DOCUMENTS", "100000"))
IS_LARGE = DOCUMENTS >= 1_000_000
DIMENSION = 1 if IS_LARGE else 384
PEERS = ROOT / ".venv" / "search-peers" / "bin" / "python"
BATCH = 1_000
QUERIES = 30
TURNS = 4
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Vectors:
    """Sparse vectors as flat arrays, and queries."""

    starts: NDArray[np.int64]
    terms: NDArray[np.int64]
    weights: NDArray[np.float32]
    queries: list[SparseVector]

    def batch(self, first: int, count: int) -> list[SparseVector]:
        """Cut some consecutive vectors out."""
        return [
            SparseVector(self.terms[a:b].tolist(), self.weights[a:b].tolist())
            for a, b in zip(
                self.starts[first : first + count],
                self.starts[first + 1 : first + count + 1],
                strict=True,
            )
        ]

    def texts(self, first: int, count: int) -> list[str]:
        """Write the same vectors as texts, with a word for each term, one in five of them twice."""
        words = [[_word(term) for term in each.indices] for each in self.batch(first, count)]
        return [" ".join([*each, *each[::5]]) for each in words]


def _word(term: int) -> str:
    """Return a word of letters, such as PostgreSQL looks for inflections in."""
    letters = ""
    while term:
        term, letter = divmod(term, 26)
        letters += chr(ord("a") + letter)
    return f"{letters}ing"


def bm25(random: np.random.Generator, count: int) -> Vectors:
    """Return vectors as of texts with 27 different words of 100,000, and queries of 3 to 8."""
    frequencies = 1 / (np.arange(100_000) + 2.7)
    names = np.sort(random.choice(2**32, len(frequencies), replace=False))
    random.shuffle(names)
    sizes = np.clip(random.lognormal(3.0, 0.75, count), 2, 600).astype(int)
    return _vectors(
        random,
        frequencies,
        names,
        sizes,
        lambda size: (1 + random.random(size) * 1.2).astype(np.float32),
        lambda: int(random.integers(3, 9)),
    )


def splade(random: np.random.Generator, count: int) -> Vectors:
    """Return vectors of some 160 of 30,522 terms, and queries of 29."""
    frequencies = (np.arange(30_522) + 16.0) ** -0.85
    names = random.permutation(30_522)
    sizes = np.clip(random.normal(160, 35, count), 40, 320).astype(int)
    return _vectors(
        random,
        frequencies,
        names,
        sizes,
        lambda size: (random.gamma(1.3, 0.45, size) + 0.01).astype(np.float32),
        lambda: 29,
    )


def _vectors(
    random: np.random.Generator,
    frequencies: NDArray[Any],
    names: NDArray[Any],
    sizes: NDArray[Any],
    weights: Callable[[int], NDArray[np.float32]],
    query_size: Callable[[], int],
) -> Vectors:
    total = np.cumsum(frequencies / frequencies.sum())
    terms = []
    for size in sizes:
        drawn = np.searchsorted(total, random.random(int(size * 1.6)))
        distinct = np.unique(names[np.minimum(drawn, len(names) - 1)])
        terms.append(np.sort(random.choice(distinct, min(size, len(distinct)), replace=False)))
    queries: list[SparseVector] = []
    while len(queries) < QUERIES:
        size, chosen = query_size(), terms[random.integers(len(terms))]
        if len(chosen) >= size:
            picked = np.sort(random.choice(chosen, size, replace=False)).tolist()
            queries.append(SparseVector(picked, weights(size).tolist()))
    flat = np.concatenate(terms)
    starts = np.concatenate([[0], np.cumsum([len(each) for each in terms])])
    return Vectors(starts, flat, weights(len(flat)), queries)


class Loaded:
    """A collection with the vectors, and the processes of PostgreSQL that work for it.

    Attributes:
        vectors: Its sparse vectors.
        words: The sparse vectors that its documents are made of; without them, all are the same.
    """

    def __init__(
        self,
        conninfo: str,
        client: Any,
        name: str,
        *,
        vectors: Vectors | None = None,
        words: Vectors | None = None,
        has_text: bool = False,
    ) -> None:
        self.conninfo = conninfo
        self.vectors, self.words = vectors, words
        schema = Schema().create_index(IntInvertedIndexConfig(), key="indexed")
        if vectors is not None:
            schema.create_index(SparseVectorIndexConfig(bm25=name == "BM25"), key="sparse")
        text = {"text": {"language": "english"}} if has_text else None
        self.collection = client.create_collection(name, schema, text, embedding_function=None)
        random = np.random.default_rng(5)
        self.embeddings = random.normal(size=(BATCH, DIMENSION)).astype(np.float32)
        self.added = {"wall": 0.0, "cpu": 0.0}
        for first in range(0, DOCUMENTS, BATCH):
            batch = self._batch(random, first)
            with self._measured() as spent:
                self.collection.add(**batch)
            self.added = {kind: self.added[kind] + spent[kind] for kind in spent}

    def _batch(self, random: np.random.Generator, first: int) -> dict[str, Any]:
        marks = random.integers(0, 1_000, BATCH).tolist()
        metadatas: list[Any] = [{"indexed": mark, "plain": mark} for mark in marks]
        if self.vectors is not None:
            for metadata, vector in zip(metadatas, self.vectors.batch(first, BATCH), strict=True):
                metadata["sparse"] = vector
        noise = np.random.default_rng(first).normal(size=(BATCH, DIMENSION)).astype(np.float32)
        return {
            "ids": [f"d{n}" for n in range(first, first + BATCH)],
            "embeddings": self.embeddings + 0.3 * noise,
            "documents": (
                ["words " * 40] * BATCH if self.words is None else self.words.texts(first, BATCH)
            ),
            "metadatas": metadatas,
        }

    @contextmanager
    def _measured(self) -> Iterator[dict[str, float]]:
        """Yield what will be the seconds that passed, and those of PostgreSQL's processors."""
        spent: dict[str, float] = {}
        begin, cpu = time.perf_counter(), _backends_cpu(self.conninfo)
        yield spent
        spent["wall"] = time.perf_counter() - begin
        spent["cpu"] = _backends_cpu(self.conninfo) - cpu

    def compact(self) -> tuple[float, float]:
        """Compact it; return the seconds of PostgreSQL's and of the compactor's processor."""
        with Compaction(self.conninfo, CompactionSettings(), Event()) as compaction:
            (each,) = compaction.collections({self.collection.id})
            own, pid = time.process_time(), compaction._session._working.info.backend_pid
            cpu = _cpu(pid)
            compaction.compact_sparse(each)
            cpu, own = _cpu(pid) - cpu, time.process_time() - own
            while not compaction.compact(each):
                pass
        return cpu, own

    def size(self) -> tuple[float, float]:
        """Return the bytes of a vector, and of its share of the blocks."""
        with psycopg.connect(self.conninfo) as connection:
            sizes: dict[str, int] = dict(
                connection.execute(
                    "select relname::text, pg_total_relation_size(oid) from pg_class "
                    "where relname like %s and relkind = 'r'",
                    [f"sparse_{self.collection.id.hex}%"],
                ).fetchall()
            )
            (words,) = connection.execute(
                "select coalesce(sum(pg_column_size(lexemes)), 0) "
                f'from default_tenant__default_database."records_{self.collection.id.hex}"'
                if self.words is not None
                else "select 0"
            ).fetchall()[0]
        vectors = sizes.pop(f"sparse_{self.collection.id.hex}_0") + int(words)
        return vectors / DOCUMENTS, sum(sizes.values()) / DOCUMENTS

    def search(self, searches: dict[str, Sequence[Search]]) -> dict[str, tuple[float, float]]:
        """Return the milliseconds of each kind of search: of PostgreSQL's processor, and passed."""
        for each in searches.values():
            for search in each[:10]:
                self.collection.search(search)
        spent: dict[str, list[tuple[float, float]]] = {kind: [] for kind in searches}
        for _ in range(TURNS):
            for kind, each in searches.items():
                with self._measured() as taken:
                    for search in each:
                        self.collection.search(search)
                ms = 1_000 / len(each)
                spent[kind].append((taken["cpu"] * ms, taken["wall"] * ms))
        return {
            kind: (
                statistics.median(cpu for cpu, _ in turns),
                statistics.median(wall for _, wall in turns),
            )
            for kind, turns in spent.items()
        }


def _backends_cpu(conninfo: str) -> float:
    """Return the processor's seconds of all connections but those of the benchmark itself."""
    with psycopg.connect(conninfo, application_name="benchmark") as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend' "
            "and datname = current_database() and application_name <> 'benchmark'"
        ).fetchall()
    return sum(_cpu(pid) for (pid,) in rows)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _searches(loaded: Loaded, vectors: Vectors) -> dict[str, Sequence[Search]]:
    def rank(query: SparseVector, limit: int) -> Knn | Text:
        if loaded.words is None:
            return Knn(query, key="sparse", limit=limit)
        return Text(" ".join(map(_word, query.indices)), limit=limit)

    def best(limit: int = 10, where: Any = None) -> list[Search]:
        ranks = (rank(query, limit) for query in vectors.queries)
        return [Search(where=where, rank=rank, limit=10) for rank in ranks]

    found: dict[str, Sequence[Search]] = {
        "top 10": best(),
        "top 200": best(200),
        "filter of 50 %": best(where=K("plain") < 500),
        "filter of 10 %, indexed": best(where=K("indexed") < 100),
        "filter of 1 %, indexed": best(where=K("indexed") < 10),
        "filter of 1 %": best(where=K("plain") < 10),
    }
    if IS_LARGE:
        return found
    shown = [K.DOCUMENT.name, K.METADATA.name, K.SCORE.name]
    dense = [Knn(embedding.tolist(), limit=200) for embedding in loaded.embeddings[:QUERIES]]
    sparse = [rank(query, 200) for query in vectors.queries]
    for each in (*dense, *sparse):
        each.return_rank = True
    fused = [Rrf([left, right]) for left, right in zip(dense, sparse, strict=True)]
    # A weight of zero makes a search read all vectors.
    all_read = [
        SparseVector([*query.indices, 2**32 - 1], [*query.values, 0.0]) for query in vectors.queries
    ]
    read = [Search(rank=Knn(query, key="sparse", limit=10), limit=10) for query in all_read[:8]]
    return {
        **found,
        **({"top 10, all vectors read": read} if loaded.words is None else {}),
        "dense, top 200": [Search(rank=each, limit=10, select=shown) for each in dense],
        "this, top 200": [Search(rank=each, limit=10, select=shown) for each in sparse],
        "both, fused": [Search(rank=each, limit=10, select=shown) for each in fused],
    }


def _peers(vectors: Vectors) -> list[tuple[str, str, str, str]]:
    """Index the documents and search them with other software, in an environment of its own."""
    given = {
        "documents": vectors.texts(0, DOCUMENTS),
        "queries": [" ".join(map(_word, query.indices)) for query in vectors.queries],
    }
    done = subprocess.run(
        [PEERS, Path(__file__).with_name("search_peers.py")],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, dict[str, float]] = json.loads(done.stdout)
    return [
        (peer, short(DOCUMENTS / each["indexing"]), short(each["cpu"]), short(each["wall"]))
        for peer, each in measured.items()
    ]


def main() -> None:
    """Measure the kinds of vectors, and write the tables."""
    measured = revision()
    random = np.random.default_rng(3)
    written, searched, beside = [], [], []
    kinds = (("BM25", bm25), ("words", bm25), ("SPLADE-like", splade))
    with (
        tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory,
        EmbeddedPostgres.open(Path(directory)) as postgres,
        pgchroma.PostgresClient(
            postgres.conninfo, pgchroma.Settings(pgchroma_compaction=False)
        ) as client,
    ):
        for name, make in kinds[:1] if IS_LARGE else kinds:
            vectors = make(random, DOCUMENTS)
            gc.collect()
            gc.freeze()
            words = vectors if name == "words" else None
            without = Loaded(postgres.conninfo, client, "without", words=words)
            client.delete_collection("without")
            loaded = Loaded(
                postgres.conninfo,
                client,
                name,
                vectors=None if words else vectors,
                words=words,
                has_text=words is not None,
            )
            cpu, own = loaded.compact()
            size, blocks = loaded.size()
            written.append(
                (
                    name,
                    f"{len(vectors.terms) / DOCUMENTS:.1f}",
                    short(without.added["cpu"] / loaded.added["cpu"]),
                    short(without.added["wall"] / loaded.added["wall"]),
                    short((loaded.added["cpu"] - without.added["cpu"]) / DOCUMENTS * 1e6),
                    short(DOCUMENTS / cpu),
                    short(DOCUMENTS / (cpu + own)),
                    short(size),
                    short(blocks),
                )
            )
            print(written[-1], flush=True)
            found = loaded.search(_searches(loaded, vectors))
            base = found["top 10"][0]
            for kind, (ms, wall) in found.items():
                parts = base
                if kind == "both, fused":
                    parts = found["dense, top 200"][0] + found["this, top 200"][0]
                ratio = ms / parts
                searched.append((name, kind, short(ms), short(wall), f"{ratio:.2f}"))
                print(searched[-1], flush=True)
            client.delete_collection(name)
            if words is not None:
                cpu_ms, wall = found["top 10"]
                rate = short(DOCUMENTS / (loaded.added["cpu"] + cpu + own))
                beside = [("pgchroma", rate, short(cpu_ms), short(wall)), *_peers(vectors)]
                print(beside, flush=True)
    header = ("", "weights", "add, CPU", "add", "more, µs", "blocks/s", "both/s", "vector", "block")
    text = INTRODUCTION.replace("{revision}", measured) + table(header, 1, written) + SEARCHES
    text += table(("", "search", "CPU, ms", "all, ms", "ratio"), 2, searched)
    if beside:
        text += BESIDE + table(("", "indexed/s", "CPU, ms", "all, ms"), 1, beside)
    name = "benchmarks-search-large.md" if IS_LARGE else "benchmarks-search.md"
    (ROOT / "docs" / name).write_text(text, encoding="utf-8")
    print(text)


INTRODUCTION = f"""# Searches by sparse vectors and by words

{DOCUMENTS:,} records with embeddings of {DIMENSION} dimension{"s" * (DIMENSION > 1)}, a document
and two metadata keys, in an embedded PostgreSQL; made by `make bench-search{"-large" * IS_LARGE}`
at {{revision}}.
The vectors are synthetic: terms are as
unevenly frequent as words, in the first kind over all numbers of 32 bits, in the second over the
vocabulary of SPLADE's models. "words" is a full-text index of documents that have a word for each
term of vectors of the first kind. Queries are terms of a document. Medians of {TURNS} turns; these
machines are noisy, so compare the lines of one run.

The rate of adding is that without an index divided by that with one, in batches of {BATCH:,}: of
PostgreSQL's processor alone, and of all that passes; and by how much its processor needs longer for
a document. Then vectors that the compactor puts into blocks in a second of PostgreSQL's processor,
and of its own as well; bytes of a vector, or of a vector and the words of the document, and of its
share of the blocks.

"""

SEARCHES = """
The time of PostgreSQL's processor for a search that returns ten records, and the time that passes
in the client. The ratio is to the top 10, and for the fusion to the sum of its two parts.

"""

BESIDE = """
The same documents and queries, top 10, in other software for searching words, which runs inside of
the measuring process: bm25s, whose index is an array in memory without filters and changes, and
LanceDB. The first figure is the number of documents that are stored and indexed in a second of a
processor; pgchroma's includes embeddings and metadata. Each counts its own processor's time.

"""


if __name__ == "__main__":
    main()
