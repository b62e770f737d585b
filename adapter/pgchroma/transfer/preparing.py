"""Turn the records of a source into records that a target can store.

A part of a record that no target can store is left out or mended, and becomes a loss. A record
without a usable id is left out as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.metadata import CleanMetadata, parse_metadata
from pgchroma.model.plain import brief
from pgchroma.model.records import RecordBatch, parse_ids
from pgchroma.model.sparse import is_sparse
from pgchroma.transfer.batches import embeddings_of, without
from pgchroma.transfer.source import Loss, SourceBatch

__all__ = ("Nested", "Prepared", "Preparer", "repeated", "with_embeddings_only")

Nested: TypeAlias = Literal["report", "json"]
"""What happens to a metadata value that is a nested object: it becomes a loss, or JSON text."""

_NOT_EMBEDDED: Final = (
    "it has no embedding, and the API of servers has no such records; --reembed computes it, and a "
    "database that is reached without a server stores the record as it is"
)
_REPEATED: Final = "another record has the same id; the first one was kept"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Records that a target can store, and what could not be kept of those that were read.

    Attributes:
        read: How many records were read.
    """

    records: RecordBatch
    read: int
    losses: list[Loss]


@dataclass(slots=True)
class Preparer:
    """Prepares the batches of one collection.

    Attributes:
        dimension: The length that embeddings must have; `None` until the first one was seen.
        nested: What happens to nested objects.
    """

    dimension: int | None = None
    nested: Nested = "report"

    def prepare(self, batch: SourceBatch) -> Prepared:
        """Return the records that can be stored, in the order of the batch."""
        records = self._unchanged(batch)
        if records is not None:
            return Prepared(records, len(batch.ids), list(batch.losses))
        return self._mended(batch)

    def _unchanged(self, batch: SourceBatch) -> RecordBatch | None:
        """Return the records if all of them can be stored as they are, else `None`."""
        if len(set(batch.ids)) < len(batch.ids):
            return None
        # Chroma's server refuses empty metadata.
        metadatas = [metadata or None for metadata in batch.metadatas]
        try:
            records = RecordBatch.parse(
                batch.ids,
                batch.embeddings,
                _column(metadatas),
                _column(batch.documents),
                _column(batch.uris),
            )
        except (InvalidArgumentError, TypeError):
            return None
        # Cleaning leaves out empty lists, and turns large integers into floats.
        if records.metadatas is not None and records.metadatas != metadatas:
            return None
        if self.dimension is None:
            self.dimension = records.dimension
        return records if records.dimension in (None, self.dimension) else None

    def _mended(self, batch: SourceBatch) -> Prepared:
        mended = _Mended(list(batch.losses))
        for row in zip(
            batch.ids, batch.embeddings, batch.documents, batch.uris, batch.metadatas, strict=True
        ):
            self._mend(mended, *row)
        records = RecordBatch.parse(
            mended.ids,
            mended.embeddings,
            _column([metadata or None for metadata in mended.metadatas]),
            _column(mended.documents),
            _column(mended.uris),
        )
        return Prepared(records, len(batch.ids), mended.losses)

    def _mend(
        self,
        mended: _Mended,
        id: Any,
        embedding: NDArray[np.float32] | None,
        document: str | None,
        uri: str | None,
        metadata: Any,
    ) -> None:
        try:
            parse_ids([id])
        except InvalidArgumentError as error:
            reason = error.message().removeprefix("ids[0]: ")
            mended.losses.append(Loss("record", f"its id cannot be stored: {reason}", brief(id)))
            return
        if id in mended.ids_seen:
            mended.losses.append(Loss("record", _REPEATED, id))
            return
        mended.ids_seen.add(id)
        mended.ids.append(id)
        mended.embeddings.append(self._embedding(mended, id, embedding))
        mended.documents.append(_text(mended.losses, "document", id, document))
        mended.uris.append(_text(mended.losses, "uri", id, uri))
        mended.metadatas.append(self._metadata(mended.losses, id, metadata))

    def _embedding(
        self, mended: _Mended, id: str, embedding: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        if embedding is None:
            return None
        reason = self._fault(np.asarray(embedding))
        if reason is None:
            return embedding
        mended.losses.append(Loss("embedding", reason, id))
        return None

    def _fault(self, embedding: NDArray[Any]) -> str | None:
        """Return why an embedding cannot be stored, if it cannot."""
        if embedding.ndim != 1 or not len(embedding):
            return "it is not a list of numbers"
        if not np.isfinite(embedding).all():
            return "it contains NaN or Infinity"
        if self.dimension is None:
            self.dimension = len(embedding)
        if len(embedding) != self.dimension:
            return (
                f"it has {len(embedding)} dimensions, and those of the collection have "
                f"{self.dimension}"
            )
        return None

    def _metadata(self, losses: list[Loss], id: str, metadata: Any) -> CleanMetadata | None:
        if metadata is None:
            return None
        if not isinstance(metadata, Mapping):
            losses.append(Loss("metadata", f"it is a {type(metadata).__name__}, not an object", id))
            return None
        clean: CleanMetadata = {}
        for key, value in metadata.items():
            # A key that has no value is a key that is not there.
            if value is not None:
                clean.update(self._entry(losses, id, key, value))
        return clean

    def _entry(self, losses: list[Loss], id: str, given: Any, value: Any) -> CleanMetadata:
        key = _without_faults(given) if isinstance(given, str) else given
        value = list(value) if isinstance(value, tuple) else value
        kept = _mended_value(value)
        try:
            entry = parse_metadata({key: kept}, "metadata")
        except (InvalidArgumentError, TypeError) as error:
            return self._unfit(losses, id, key, value, error)
        if not entry:
            losses.append(Loss("metadata", f"the list of key {brief(key)} is empty", id))
        elif key != given or kept != value:
            losses.append(_faulty_characters("metadata", id, f"key {brief(key)}: "))
        elif not is_sparse(value) and entry[key] != value:
            reason = f"an integer of key {brief(key)} needs more than 64 bits and became a float"
            losses.append(Loss("metadata", reason, id, is_suspect=True))
        return entry

    def _unfit(
        self, losses: list[Loss], id: str, key: Any, value: Any, error: Exception
    ) -> CleanMetadata:
        """Return what is kept of a value that metadata cannot hold."""
        is_nested = isinstance(value, Mapping | list | tuple) and not is_sparse(value)
        if self.nested == "json" and (text := _as_text(value)) is not None:
            try:
                return parse_metadata({key: text}, "metadata")
            except InvalidArgumentError:
                pass
        if is_nested:
            reason = f"key {brief(key)} has a nested value; --nested json keeps it as text"
        else:
            reason = str(error).partition(", got ")[0].removeprefix("metadata: ")
        losses.append(Loss("metadata", reason, id))
        return {}


@dataclass(slots=True)
class _Mended:
    """The columns of the records that can be stored, as they grow."""

    losses: list[Loss]
    ids: list[str] = field(default_factory=list)
    ids_seen: set[str] = field(default_factory=set)
    embeddings: list[NDArray[np.float32] | None] = field(default_factory=list)
    documents: list[str | None] = field(default_factory=list)
    uris: list[str | None] = field(default_factory=list)
    metadatas: list[CleanMetadata | None] = field(default_factory=list)


def repeated(ids: Sequence[str]) -> list[Loss]:
    """Return the losses of records whose ids others have."""
    return [Loss("record", _REPEATED, id) for id in ids]


def with_embeddings_only(records: RecordBatch) -> tuple[RecordBatch, list[Loss]]:
    """Leave out the records that have no embedding, for targets that do not store them."""
    embeddings = embeddings_of(records) or [None] * len(records)
    places = [n for n, embedding in enumerate(embeddings) if embedding is None]
    if not places:
        return records, []
    return without(records, places), [Loss("record", _NOT_EMBEDDED, records.ids[n]) for n in places]


def _column(values: Sequence[Any]) -> Sequence[Any] | None:
    """Return a column, or `None` if it is empty."""
    return values if any(value is not None for value in values) else None


def _text(losses: list[Loss], part: Literal["document", "uri"], id: str, text: Any) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        losses.append(Loss(part, f"it is a {type(text).__name__}, not a text", id))
        return None
    kept = _without_faults(text)
    if kept != text:
        losses.append(_faulty_characters(part, id))
    return kept


def _faulty_characters(
    part: Literal["document", "uri", "metadata"], id: str, where: str = ""
) -> Loss:
    reason = f"{where}characters that PostgreSQL cannot store (U+0000, surrogates) were replaced"
    return Loss(part, reason, id, is_suspect=True)


def _as_text(value: Any) -> str | None:
    """Return a value that metadata cannot hold as JSON, or a date and the like as plain text."""
    if isinstance(value, float) or is_sparse(value):
        return None
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return None
    return _without_faults(str(orjson.loads(text)) if text.startswith('"') else text)


def _mended_value(value: Any) -> Any:
    if isinstance(value, str):
        return _without_faults(value)
    if isinstance(value, list) and any(isinstance(each, str) for each in value):
        return [_without_faults(each) if isinstance(each, str) else each for each in value]
    return value


def _without_faults(text: str) -> str:
    """Return a text with U+FFFD in the place of characters that PostgreSQL cannot store."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if text.isascii():
        return text
    # Two halves of a pair, as JSON may escape them, are joined; a half alone is replaced.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
