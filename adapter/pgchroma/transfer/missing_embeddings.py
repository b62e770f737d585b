"""Compute the embeddings that records lack, from their documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.client.functions import Function, resolve
from pgchroma.embeddings.protocol import normalize_embeddings, validate_embeddings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.records import RecordBatch
from pgchroma.transfer.batches import embeddings_of
from pgchroma.transfer.preparing import Prepared
from pgchroma.transfer.source import SourceCollection

__all__ = ("MissingEmbeddings",)


class MissingEmbeddings:
    """Embeds documents with the function that a collection stores, or with a named one.

    A stored function is built under the same rules as in a client: addresses, variables and code
    that it names are not used.
    """

    def __init__(self, collection: SourceCollection, name: str | None = None) -> None:
        """Choose the function.

        Args:
            collection: The collection of the records.
            name: The name of the function to use instead of the stored one.
        """
        self._collection = collection
        stored = collection.configuration.get("embedding_function")
        self._stored: Mapping[str, Any] | None = (
            stored if name is None else {"type": "known", "name": name, "config": {}}
        )
        self._function: Function | None = None

    def fill(self, prepared: Prepared, dimension: int | None) -> tuple[Prepared, int]:
        """Return records of which all with a document have an embedding, and how many are new.

        Args:
            prepared: The records.
            dimension: The length of the other embeddings, if there are any.

        Raises:
            InvalidArgumentError: There is no function, or its embeddings have another length.
        """
        records = prepared.records
        embeddings = embeddings_of(records) or [None] * len(records)
        documents = records.documents or [None] * len(records)
        places = [
            n
            for n, (embedding, document) in enumerate(zip(embeddings, documents, strict=True))
            if embedding is None and document is not None
        ]
        if not places:
            return prepared, 0
        made = self._embed([str(documents[n]) for n in places], dimension)
        for place, embedding in zip(places, made, strict=True):
            embeddings[place] = embedding
        filled = RecordBatch.parse(
            records.ids, embeddings, records.metadatas, records.documents, records.uris
        )
        embedded = {records.ids[n] for n in places}
        losses = [
            loss for loss in prepared.losses if loss.part != "embedding" or loss.id not in embedded
        ]
        return replace(prepared, records=filled, losses=losses), len(places)

    def _embed(self, documents: list[str], dimension: int | None) -> list[NDArray[np.float32]]:
        if self._function is None:
            self._function = self._resolved()
        made = validate_embeddings(normalize_embeddings(self._function(documents)))
        if len(made) != len(documents):
            raise InvalidArgumentError(
                f"the embedding function returned {len(made)} embeddings for {len(documents)} "
                "documents"
            )
        if dimension is not None and len(made[0]) != dimension:
            raise InvalidArgumentError(
                f"{self._collection.name}: the embedding function makes {len(made[0])} dimensions, "
                f"and the embeddings of the collection have {dimension}"
            )
        return made

    def _resolved(self) -> Function:
        try:
            return resolve(None, self._stored, is_trusted=False)
        except ValueError as error:
            if self._stored is not None and self._stored.get("type") == "known":
                raise InvalidArgumentError(f"{self._collection.name}: {error}") from error
            raise InvalidArgumentError(
                f"{self._collection.name} does not store an embedding function; name one with "
                "--embedding-function, such as default"
            ) from error
