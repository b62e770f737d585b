"""The keys and documents that filters and searches may use: what users choose in Chroma's schema.

pgchroma can filter by everything, indexed or not. But if a schema disables the index of a key, a
filter by that key is rejected, as in Chroma. A search by a sparse vector needs an index that the
schema enables, and a search by words one that the configuration enables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self, TypeAlias

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filters import WORD_OPERATORS, Comparison, TextMatch

__all__ = ("KINDS", "FilterableKeys", "SparseIndex", "TextIndex", "ValueKind")

ValueKind: TypeAlias = Literal["string", "int", "float", "bool"]
KINDS: Final[tuple[ValueKind, ...]] = ("string", "int", "float", "bool")

_KIND_OF: Final[dict[type, tuple[ValueKind, str]]] = {
    str: ("string", "Str"),
    int: ("int", "Int"),
    float: ("float", "Float"),
    bool: ("bool", "Bool"),
}
"""The kind of an operand's type, and the word for it in Chroma's messages."""


@dataclass(frozen=True, slots=True)
class SparseIndex:
    """The schema's entry for the sparse vectors under a metadata key.

    Attributes:
        number: The number of its table; `None` if the index is disabled, so there is no table.
        config: The index's configuration, as the schema has it.
        has_bm25: Whether queries are weighted by the inverse document frequencies of their terms.
    """

    number: int | None
    config: Mapping[str, Any]
    has_bm25: bool


@dataclass(frozen=True, slots=True)
class TextIndex:
    """The full-text index of the documents.

    Attributes:
        number: The number of its tables of sparse vectors, which contain a term for each word.
        language: The text search configuration of PostgreSQL that splits documents into words.
        average_length: The number of words of an average document. BM25 gives the words of longer
            documents less weight.
    """

    number: int
    language: str
    average_length: int


@dataclass(frozen=True, slots=True)
class FilterableKeys:
    """The keys and documents that filters and searches may use.

    Attributes:
        defaults: Whether keys have an index, by kind of value; a kind that is missing has one.
        keys: The same for single keys, which takes precedence over the defaults.
        documents: Whether documents can be searched.
        sparse: The entries for sparse vectors, by key.
        text: The full-text index; `None` if there is none.
    """

    defaults: Mapping[ValueKind, bool] = field(default_factory=dict)
    keys: Mapping[str, Mapping[ValueKind, bool]] = field(default_factory=dict)
    documents: bool = True
    sparse: Mapping[str, SparseIndex] = field(default_factory=dict)
    text: TextIndex | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Self:
        """Decode the result of `to_json`; `None` means that everything is indexed."""
        if stored is None:
            return cls()
        sparse = {key: SparseIndex(**index) for key, index in stored.get("sparse", {}).items()}
        text = TextIndex(**stored["text"]) if "text" in stored else None
        return cls(stored["defaults"], stored["keys"], stored["documents"], sparse, text)

    def to_json(self) -> dict[str, Any] | None:
        """Return the catalog's form; `None` if everything is indexed."""
        if self == FilterableKeys():
            return None
        stored = {"defaults": self.defaults, "keys": self.keys, "documents": self.documents}
        if self.sparse:
            stored["sparse"] = {key: asdict(index) for key, index in self.sparse.items()}
        if self.text is not None:
            stored["text"] = asdict(self.text)
        return stored

    def sparse_numbers(self) -> dict[str, int]:
        """Return the keys with an index of sparse vectors, and the numbers of their tables."""
        numbers = {
            key: index.number for key, index in self.sparse.items() if index.number is not None
        }
        return dict(sorted(numbers.items(), key=lambda pair: pair[1]))

    def table_numbers(self) -> tuple[int, ...]:
        """Return the numbers of all tables of sparse vectors, including those of documents."""
        numbers = tuple(self.sparse_numbers().values())
        return numbers if self.text_number is None else (*numbers, self.text_number)

    @property
    def text_number(self) -> int | None:
        """The number of the tables of the documents' words."""
        return None if self.text is None else self.text.number

    def with_text(self, language: str, average_length: int) -> Self:
        """Return a copy with a full-text index of the documents."""
        return replace(self, text=TextIndex(len(self.sparse_numbers()), language, average_length))

    def declared_keys(self) -> tuple[str, ...]:
        """Return, sorted, the keys that the schema lists with an index of some kind.

        Keys that are indexed by default are not included, nor are ``#document`` and
        ``#embedding``, which are not metadata.
        """
        return tuple(sorted(key for key, kinds in self.keys.items() if any(kinds.values())))

    def check(self, leaf: Comparison | TextMatch) -> None:
        """Raise if a part of a filter needs an index that is disabled.

        Raises:
            InvalidArgumentError: It does; the message names the key.
        """
        match leaf:
            case TextMatch() if leaf.operator in WORD_OPERATORS:
                self.check_text()
            case TextMatch() if not self.documents:
                raise InvalidArgumentError(
                    "Cannot filter using full-text search because FTS indexing is disabled"
                )
            case Comparison(key, _, operand) if not key.startswith("#"):
                first = operand[0] if isinstance(operand, tuple) else operand
                self._check_key(key, first)
            case _:
                pass

    def check_text(self) -> TextIndex:
        """Return the full-text index.

        Raises:
            InvalidArgumentError: There is none.
        """
        if self.text is None:
            raise InvalidArgumentError(
                "Cannot search documents for words because the collection has no full-text index. "
                "It is chosen when a collection is created: "
                "configuration={'text': {'language': 'english'}}"
            )
        return self.text

    def _check_key(self, key: str, operand: object) -> None:
        kind, word = _KIND_OF[type(operand)]
        default = self.defaults.get(kind, True)
        if not self.keys.get(key, {}).get(kind, default):
            raise InvalidArgumentError(
                f"Cannot filter using metadata key '{key}' with type '{word}' because indexing "
                "is disabled"
            )
