"""What a search returns."""

from __future__ import annotations

from typing import Any, Final, Required, TypedDict, cast

__all__ = ("SearchResult", "SearchResultRow")

_FIELDS: Final = {
    "documents": "document",
    "embeddings": "embedding",
    "metadatas": "metadata",
    "scores": "score",
}


class SearchResultRow(TypedDict, total=False):
    """A record that was found; only the selected fields that it has are there."""

    id: Required[str]
    document: str | None
    embedding: list[float] | None
    metadata: dict[str, Any] | None
    score: float | None


class SearchResult(dict[str, Any]):
    """Columns of a batch of searches: ``ids``, ``documents`` and so on, one list for each search.

    The column of a field that a search did not select is None.
    """

    def rows(self) -> list[list[SearchResultRow]]:
        """Return the records of each search."""
        return [
            [self._row(search, record) for record in range(len(ids))]
            for search, ids in enumerate(self["ids"])
        ]

    def _row(self, search: int, record: int) -> SearchResultRow:
        row: dict[str, Any] = {"id": self["ids"][search][record]}
        for column, field in _FIELDS.items():
            values = (self.get(column) or {search: None})[search]
            if values is not None and values[record] is not None:
                row[field] = values[record]
        return cast("SearchResultRow", row)
