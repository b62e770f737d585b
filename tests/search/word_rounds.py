"""A collection with a full-text index that is written to and compacted, and what it has to find."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import K, Search, Text
from tests.search.blocks import assert_words_consistent, compact_sparse

__all__ = ("AVERAGE", "WordRounds", "best_documents", "document")

AVERAGE = 12
WORDS = [*(f"w{number}" for number in range(40)), "naïve", "x.y", "日本語"]


def document(rng: random.Random, most: int = 30) -> str:
    """A text of a few words, some of which it has several times."""
    return " ".join(rng.choices(WORDS, k=rng.randint(0, most)))


class WordRounds:
    """A collection in PostgreSQL's simple language, which changes no word, and its documents."""

    def __init__(self, url: str, client: pgchroma.ClientAPI) -> None:
        self.url = url
        self.rng = random.Random(1)
        self.collection = client.create_collection(
            "rounds",
            configuration={"text": {"language": "simple", "average_length": AVERAGE}},
            embedding_function=None,
        )
        self.documents: dict[str, str] = {}

    def add(self, count: int) -> None:
        first = max((int(id) for id in self.documents), default=-1) + 1
        self._write(self.collection.add, [str(n) for n in range(first, first + count)])

    def update(self, count: int) -> None:
        self._write(self.collection.update, self._some(count))

    def upsert(self, count: int) -> None:
        self._write(self.collection.upsert, self._some(count))

    def touch(self, count: int) -> None:
        """Update metadata alone, which leaves the documents as they are."""
        ids = self._some(count)
        self.collection.update(ids=ids, metadatas=[{"digit": int(id) % 10} for id in ids])

    def delete(self, count: int) -> None:
        ids = self._some(count)
        self.collection.delete(ids=ids)
        for id in ids:
            del self.documents[id]

    def compact(self, *, merges_all: bool = False) -> None:
        compact_sparse(self.url, self.collection, merges_all=merges_all)
        self.assert_consistent()

    def assert_consistent(self) -> None:
        with psycopg.connect(self.url) as connection:
            assert_words_consistent(connection, self.collection.id.hex)

    def check(self, count: int, *limits: int) -> None:
        """Compare searches with the scores of all documents."""
        for _ in range(count):
            limit, digit = self.rng.choice(limits), self.rng.choice([None, None, 3])
            query = document(self.rng, 5)
            found = self.collection.search(
                Search(
                    where=None if digit is None else {"digit": digit},
                    rank=Text(query, limit=limit),
                    limit=limit,
                    select=[K.SCORE.name],
                )
            )
            expected = best_documents(self.documents, query, limit, digit=digit)
            assert found["scores"] is not None
            assert found["scores"][0] == pytest.approx([score for score, _ in expected], 1e-5, 1e-6)
            if found["scores"][0] == [score for score, _ in expected]:
                assert found["ids"][0] == [id for _, id in expected]

    def _write(self, write: Any, ids: list[str]) -> None:
        written = {id: document(self.rng) for id in ids}
        write(
            ids=ids,
            documents=list(written.values()),
            embeddings=[[1.0]] * len(ids),
            metadatas=[{"digit": int(id) % 10} for id in ids],
        )
        self.documents |= written

    def _some(self, count: int) -> list[str]:
        return self.rng.sample(list(self.documents), count)


def best_documents(
    documents: Mapping[str, str], query: str, limit: int, *, digit: int | None = None
) -> list[tuple[float, str]]:
    """Return the scores and ids that a search has to find, in an order of insertion."""
    counts = {id: Counter(text.split()) for id, text in documents.items()}
    weights = {}
    for word in set(query.split()):
        having = sum(word in words for words in counts.values())
        weights[word] = np.float32(np.log(1 + (len(counts) - having + 0.5) / (having + 0.5)))
    found = []
    for place, (id, words) in enumerate(counts.items()):
        shared = weights.keys() & words.keys()
        if not shared or (digit is not None and int(id) % 10 != digit):
            continue
        norm = 0.25 + 0.75 * words.total() / AVERAGE
        score = sum(
            float(weights[word]) * float(np.float32(words[word] * 2.2 / (words[word] + 1.2 * norm)))
            for word in shared
        )
        found.append((float(np.float32(1 - score)), place, id))
    return [(score, id) for score, _, id in sorted(found)[:limit]]
