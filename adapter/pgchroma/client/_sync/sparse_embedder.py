# Generated from _async/sparse_embedder.py by tools/unasync.py; edit that and run `make fmt`.
"""How a collection embeds texts for its indexes of sparse vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgchroma.client._sync.concurrency import in_thread
from pgchroma.client.arguments.operations import WriteArguments
from pgchroma.embeddings.sparse.registry import config_to_sparse_embedding_function
from pgchroma.model.fields import DOCUMENT
from pgchroma.model.filterable import SparseIndex
from pgchroma.model.sparse import SparseVector

if TYPE_CHECKING:
    from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction

__all__ = ("SparseEmbedder",)


class SparseEmbedder:
    """Embeds with the functions that the schema names for its keys.

    Args:
        indexes: The schema's entries for sparse vectors, by key.
        is_trusting: Whether to apply addresses and remote code that a function's configuration
            names.
    """

    def __init__(self, indexes: Mapping[str, SparseIndex], *, is_trusting: bool) -> None:
        self._indexes = indexes
        self._is_trusting = is_trusting
        self._functions: dict[str, SparseEmbeddingFunction[Any]] = {}

    def embed_records(self, records: WriteArguments) -> None:
        """Add the vectors of indexed keys to the metadata of records.

        A vector is made of the document, or of the text under another key, which the schema names.
        A record whose metadata has the key already keeps it, as does one without the text in this
        call.

        Raises:
            ValueError: A function cannot be built here.
        """
        for key, index in self._indexes.items():
            source = index.config.get("source_key")
            if index.number is None or source is None or not _has_function(index):
                continue
            texts = {
                position: text
                for position, text in enumerate(_texts(records, source))
                if isinstance(text, str) and key not in (_metadata(records, position) or {})
            }
            if not texts:
                continue
            vectors = in_thread(self._function(key, index), list(texts.values()))
            metadatas = list(records.metadatas or [None] * len(records.ids))
            for position, vector in zip(texts, vectors, strict=True):
                metadatas[position] = {**(metadatas[position] or {}), key: vector}
            records.metadatas = metadatas

    def embed_query(self, text: str, key: str) -> SparseVector:
        """Embed the text of a search under a key.

        Raises:
            ValueError: The schema names no function for the key, or it cannot be built here.
        """
        index = self._indexes.get(key)
        if index is None:
            raise ValueError(
                f"Cannot embed string query for key '{key}': key not found in schema. Please "
                "provide an embedded vector or configure an embedding function for this key in the "
                "schema."
            )
        if index.number is None or not _has_function(index):
            raise ValueError(
                f"Cannot embed string query for key '{key}': no embedding function configured for "
                "this key in the schema. Please provide an embedded vector or configure an "
                "embedding function."
            )
        (vector,) = in_thread(self._function(key, index).embed_query, [text])
        return vector

    def _function(self, key: str, index: SparseIndex) -> SparseEmbeddingFunction[Any]:
        if key not in self._functions:
            config = dict(index.config["embedding_function"])
            self._functions[key] = config_to_sparse_embedding_function(
                config, is_trusted=self._is_trusting
            )
        return self._functions[key]


def _has_function(index: SparseIndex) -> bool:
    return (index.config.get("embedding_function") or {}).get("type") == "known"


def _texts(records: WriteArguments, source: str) -> list[Any]:
    if source == DOCUMENT:
        return list(records.documents or [])
    return [(metadata or {}).get(source) for metadata in records.metadatas or []]


def _metadata(records: WriteArguments, position: int) -> Mapping[str, Any] | None:
    return records.metadatas[position] if records.metadatas else None
