"""Retrieval quality: a docstring's first sentence searches for the rest of the docstring.

Run by ``make bench-quality``. The corpus is made of the docstrings of Python's standard library and
of the installed packages. Writes docs/benchmarks-search-quality.md.
"""

from __future__ import annotations

import ast
import os
import random
import re
import statistics
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pgchroma
from pgchroma import K, Knn, Rrf, Schema, Search, SparseVectorIndexConfig, Text
from pgchroma.client.arguments.searches import FUSION_K
from pgchroma.model.configuration import AVERAGE_LENGTH
from pgchroma.utils.embedding_functions import ChromaBm25EmbeddingFunction
from revision import revision
from tables import table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = int(os.environ.get("BENCH_DOCUMENTS", "5000"))
QUERIES = 500
DEPTH = 200
SEED = 11
BATCH = 250
NOT_FOUND = 1_000_000

Ranker = Callable[[str], Any]


def pairs() -> list[tuple[str, str]]:
    """Return first sentences of docstrings, and the rest of each."""
    rng = random.Random(SEED)
    texts = sorted(set(_docstrings()))
    rng.shuffle(texts)
    found = []
    for text in texts:
        first, *rest = re.split(r"(?<=[.!?])\s|\n\s*\n", text, maxsplit=1)
        if rest and 4 <= len(first.split()) <= 40 and len(rest[0].split()) >= 20:
            found.append((first, rest[0].strip()))
        if len(found) == DOCUMENTS:
            break
    return found


def _docstrings() -> Iterator[str]:
    paths = sysconfig.get_paths()
    for folder in (paths["stdlib"], paths["purelib"]):
        for path in sorted(Path(folder).rglob("*.py")):
            if {"test", "tests", "idlelib"} & set(path.parts):
                continue
            try:
                with warnings.catch_warnings(action="ignore"):
                    tree = ast.parse(path.read_text("utf-8", errors="ignore"))
            except (SyntaxError, ValueError):
                continue
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
            for node in ast.walk(tree):
                if not isinstance(node, kinds):
                    continue
                text = ast.get_docstring(node)
                if text and "\0" not in text:
                    yield text.strip()


def judge(collection: Any, ranker: Ranker, questions: Sequence[tuple[str, str]]) -> list[str]:
    """Return nDCG@10 and recall@10 of a way to rank."""
    gains = []
    for first in range(0, len(questions), BATCH):
        part = questions[first : first + BATCH]
        found = collection.search([Search(rank=ranker(text), limit=10) for _, text in part])
        for (id, _), ids in zip(part, found["ids"], strict=True):
            gains.append(1 / np.log2(2 + ids.index(id)) if id in ids else 0.0)
    recall = statistics.fmean(gain > 0 for gain in gains)
    return [f"{statistics.fmean(gains):.3f}", f"{recall:.3f}"]


def near(text: str, **options: Any) -> Knn:
    """Search by the embedding of a text."""
    return Knn(text, limit=DEPTH, **options)


def sparse(text: str, key: str = "bm25", **options: Any) -> Knn:
    """Search by the sparse vector of a text."""
    return Knn(text, key=key, limit=DEPTH, **options)


def words(text: str, **options: Any) -> Text:
    """Search by the words of a text."""
    return Text(text, limit=DEPTH, **options)


def fused(
    *parts: Callable[..., Any], k: int = 60, weights: Sequence[float] | None = None
) -> Ranker:
    """Return a fusion by positions."""
    options = {"default": NOT_FOUND, "return_rank": True}
    return lambda text: Rrf([part(text, **options) for part in parts], k=k, weights=weights)


def summed(weight: float) -> Ranker:
    """Return a weighted sum of the distance to an embedding and of the score of words."""
    return lambda text: near(text, default=2.0) + words(text, default=1.0) * weight


def main() -> None:
    """Print the table and write the page."""
    measured = revision()
    documents = pairs()
    ids = [f"{number}" for number in range(len(documents))]
    texts = [rest for _, rest in documents]
    questions = [(ids[number], documents[number][0]) for number in range(QUERIES)]
    length = round(statistics.fmean(len(re.findall(r"\w+", text)) for text in texts))
    print(len(documents), "documents of", length, "words", flush=True)
    function = pgchroma.utils.embedding_functions.DefaultEmbeddingFunction()
    embedded = [function(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    embeddings = np.concatenate(embedded)
    indexes = {
        key: SparseVectorIndexConfig(
            embedding_function=ChromaBm25EmbeddingFunction(),
            source_key=K.DOCUMENT.name,
            bm25=has_idf,
        )
        for key, has_idf in (("plain", False), ("bm25", True))
    }
    with pgchroma.EphemeralClient() as client:
        collections = {}
        for average in (256, 128, 64, 32):
            schema = Schema()
            for key, index in indexes.items():
                schema.create_index(index, key=key)
            collections[average] = client.create_collection(
                f"average_{average}",
                schema=schema if average == AVERAGE_LENGTH else None,
                configuration={
                    "hnsw": {"space": "cosine"},
                    "text": {"language": "english", "average_length": average},
                },
            )
            for at in range(0, len(ids), BATCH):
                part = slice(at, at + BATCH)
                collections[average].add(
                    ids=ids[part], embeddings=embeddings[part], documents=texts[part]
                )
        rows = _rows(collections, questions)
    rendered = table(("", "nDCG@10", "recall@10"), 1, rows)
    print(rendered)
    page = _PAGE.format(
        documents=f"{len(documents):,}", queries=QUERIES, length=length, table=rendered,
        python=sys.version.split()[0], revision=measured,
    )  # fmt: skip
    (ROOT / "docs" / "benchmarks-search-quality.md").write_text(page)


def _rows(collections: dict[int, Any], questions: Sequence[tuple[str, str]]) -> list[list[str]]:
    ways: list[tuple[str, int, Ranker]] = [
        ("embeddings alone", AVERAGE_LENGTH, near),
        (
            "`ChromaBm25EmbeddingFunction`, `bm25=False`",
            AVERAGE_LENGTH,
            lambda t: sparse(t, "plain"),
        ),
        ("`ChromaBm25EmbeddingFunction`, `bm25=True`", AVERAGE_LENGTH, sparse),
        *(
            (f"`Text`, `average_length` {average}", average, words)
            for average in sorted(collections, reverse=True)
        ),
        ("`Rrf`: embeddings and Chroma's BM25", AVERAGE_LENGTH, fused(near, sparse)),
    ]
    for k in (60, 120, 20, FUSION_K, 1):
        name = f"`Rrf`: embeddings and `Text`, k {k}{' (`hybrid`)' if k == FUSION_K else ''}"
        ways.append((name, AVERAGE_LENGTH, fused(near, words, k=k)))
    for weights in ((2, 1), (1, 2)):
        name = f"the same, k 60, weights {weights[0]} and {weights[1]}"
        ways.append((name, AVERAGE_LENGTH, fused(near, words, weights=weights)))
    for weight in (0.01, 0.02, 0.03, 0.05):
        ways.append((f"a sum: distance + {weight} · `Text`", AVERAGE_LENGTH, summed(weight)))
    rows = []
    for name, average, ranker in ways:
        rows.append([name, *judge(collections[average], ranker, questions)])
        print(*rows[-1], flush=True)
    return rows


_PAGE = """# Retrieval quality

Made by `make bench-quality` with Python {python} at {revision}: {documents} docstrings
of the standard library and of installed packages, {length} words on average. Each has lost its
first sentence. {queries} of these sentences search for the rest of their docstring, which counts as
the only right answer. The embeddings are those of the default function, and a fusion has the best
{depth} of each list.

{table}
- Without inverse document frequencies, BM25 loses a seventh of its quality.
- A fusion finds 12 to 14 % more than either of its parts. Its constant matters little; a small one
  is better here.
- A sum is the best of all. But the right factor depends on the distance, on the embedding function
  and on the texts, so try it with questions of your own:
  `Knn(q, limit=200, default=2) + Text(q, limit=200, default=1) * 0.02`.
- `average_length` should not be much greater than the number of words of an average document.
""".replace("{depth}", str(DEPTH))


if __name__ == "__main__":
    main()
