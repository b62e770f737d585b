"""BM25 weights of the words of English texts, identical to Chroma's."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pgchroma.embeddings.calls.batched import check_texts
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.sparse.murmur import murmur3_32
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.embeddings.sparse.stopwords import ENGLISH_STOPWORDS
from pgchroma.extras import check_installed, load_extra
from pgchroma.model.sparse import SparseVector, SparseVectors

__all__ = ("ChromaBm25EmbeddingFunction",)

_MARKS = re.compile(r"[^\w\s]+")
_CACHED_WORDS = 100_000
"""Words whose terms are cached. Most texts have few different words."""


class ChromaBm25EmbeddingFunction(SparseEmbeddingFunction[Documents]):
    """Weights the words of a text by their frequency and by the length of the text.

    Words are reduced to stems, and a word's dimension is a hash of its stem. The weight does not
    include how rare a word is among the documents, which only an index knows. Queries have the same
    weights as documents.
    """

    def __init__(
        self,
        k: float = 1.2,
        b: float = 0.75,
        avg_doc_length: float = 256.0,
        token_max_length: int = 40,
        stopwords: Iterable[str] | None = None,
        include_tokens: bool = False,
    ) -> None:
        """Choose the weights.

        Args:
            k: The weight of a word's repetitions, at least 0.
            b: The weight of a text's length, from 0 to 1.
            avg_doc_length: The number of words of an average document.
            token_max_length: The maximum characters of a word. Longer words are ignored.
            stopwords: Words to ignore. The default is the most common English words.
            include_tokens: Whether vectors have the stems as labels.

        Raises:
            ValueError: The stemmer's package is not installed, or a setting is out of range.
        """
        check_installed("snowballstemmer", extra="bm25")
        self.k = float(k)
        self.b = float(b)
        self.avg_doc_length = float(avg_doc_length)
        self.token_max_length = int(token_max_length)
        self.include_tokens = bool(include_tokens)
        # Other values would divide by zero, or lead to negative weights.
        if not 0 <= self.k < math.inf:
            raise ValueError(f"k must be a number from 0 on, got {k}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be from 0 to 1, got {b}")
        if not self.avg_doc_length > 0:
            raise ValueError(f"avg_doc_length must be more than 0, got {avg_doc_length}")
        if isinstance(stopwords, str):
            raise ValueError("stopwords must be a list of words, got a string")
        self.stopwords = None if stopwords is None else [str(word) for word in stopwords]
        words = ENGLISH_STOPWORDS if self.stopwords is None else self.stopwords
        self._stopwords = frozenset(word.lower() for word in words)

    def __call__(self, input: Documents) -> SparseVectors:
        """Return a sparse vector for each text, in their order.

        Raises:
            ValueError: The input is not a list of texts, or is empty.
        """
        check_texts(input)
        return [self._weigh(self._terms(text)) for text in input]

    def _terms(self, text: str) -> list[tuple[int, str]]:
        # Before lower(), which can add marks: `İ` becomes two characters.
        words = _MARKS.sub(" ", text).lower().split()
        counted = (
            word
            for word in words
            if word not in self._stopwords and len(word) <= self.token_max_length
        )
        return [term for term in map(_term, counted) if term is not None]

    def _weigh(self, terms: list[tuple[int, str]]) -> SparseVector:
        counts: dict[int, int] = {}
        labels: dict[int, str] = {}
        for index, stem in terms:
            counts[index] = counts.get(index, 0) + 1
            # If several stems have the same hash, the first is the label.
            labels.setdefault(index, stem)
        # The last bits of the result depend on the order of the operations.
        length = 1 - self.b + (self.b * float(len(terms))) / self.avg_doc_length
        indices = sorted(counts)
        values = [
            float(counts[index]) * (self.k + 1) / (float(counts[index]) + self.k * length)
            for index in indices
        ]
        is_labelled = self.include_tokens and bool(terms)
        return SparseVector(
            indices, values, [labels[index] for index in indices] if is_labelled else None
        )

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "chroma_bm25"

    def get_config(self) -> dict[str, Any]:
        """Return all settings, and the stopwords if they are not the default."""
        config: dict[str, Any] = {
            "k": self.k,
            "b": self.b,
            "avg_doc_length": self.avg_doc_length,
            "token_max_length": self.token_max_length,
            "include_tokens": self.include_tokens,
        }
        return config if self.stopwords is None else {**config, "stopwords": list(self.stopwords)}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaBm25EmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return ChromaBm25EmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` for an unknown setting. All known settings may change."""
        for key in new_config.keys() - {*self.get_config(), "stopwords"}:
            raise ValueError(f"Updating '{key}' is not supported for {self.name()}")


_stemmers = threading.local()


@lru_cache(maxsize=_CACHED_WORDS)
def _term(word: str) -> tuple[int, str] | None:
    """Return the dimension and the stem of a word, or `None` if the stem is empty."""
    stem = _stemmer().stemWord(word).strip()
    return (abs(murmur3_32(stem.encode())), stem) if stem else None


def _stemmer() -> Any:
    # A stemmer has state, so threads must not share one.
    if not hasattr(_stemmers, "english"):
        _stemmers.english = load_extra("snowballstemmer", "bm25").stemmer("english")
    return _stemmers.english
