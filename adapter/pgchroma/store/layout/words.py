"""The terms and weights of words, in SQL.

The vector of a document has a term for each word, with the weight that BM25 gives it there. A term
is a hash of the word. Of 100,000 words, some five pairs share one, and count as the same word.
"""

from __future__ import annotations

from typing import Final, LiteralString

from pgchroma.store.encoding.words import K1, B

__all__ = ("TERM", "WEIGHT")

# PostgreSQL never changes this hash, because partitions of tables depend on it.
TERM: Final[LiteralString] = (
    'mod(hashtextextended(u.lexeme collate "C", 0) & 9223372036854775807, {size})'
)
"""The term of the word ``u.lexeme``, less than ``{size}``."""

WEIGHT: Final[LiteralString] = (
    f"(t.times * ({K1} + 1::float8) / (t.times + {K1}::float8 * "
    f"(1 - {B}::float8 + {B}::float8 * t.length / {{average_length}})))::real"
)
"""The weight of a word that a document of ``t.length`` words has ``t.times`` times. It is the same,
to the last bit, as `pgchroma.store.encoding.words.encode_words` computes."""
