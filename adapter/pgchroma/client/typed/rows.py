"""Rows of a table converted to columns of a collection, and columns to records."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from pgchroma.client.typed.fields import MetadataField, RecordFields, input_key
from pgchroma.client.typed.values import check_read, check_written, operand, plain, stored
from pgchroma.embeddings.lancedb.adapters import LanceDBAdapter
from pgchroma.embeddings.lancedb.fields import LanceDBMethods
from pgchroma.embeddings.protocol import normalize_embeddings, validate_embeddings
from pgchroma.extras import load_extra
from pgchroma.records import as_vector

__all__ = (
    "MISSING",
    "PreparedRows",
    "as_image",
    "convert_where",
    "embed",
    "opens_uris",
    "prepare_rows",
    "read_columns",
    "validate_models",
)

M = TypeVar("M", bound=BaseModel)

MISSING: Final = object()
"""The value of a field that a record does not have and that cannot be None."""


@dataclass(slots=True)
class PreparedRows:
    """Rows as columns. Vectors that are None must be embedded from the sources."""

    ids: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float64] | None] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    metadatas: list[dict[str, Any]] = field(default_factory=list)

    def missing(self) -> list[int]:
        """Return the numbers of the rows without a vector."""
        return [number for number, vector in enumerate(self.vectors) if vector is None]

    def fill(self, embeddings: Sequence[Any], name: str, length: int) -> None:
        """Set the vectors of the rows without one.

        Raises:
            ValueError: The embeddings do not have the length of the field.
        """
        for number, embedding in zip(self.missing(), embeddings, strict=True):
            if len(embedding) != length:
                raise ValueError(
                    f"The embedding function returns embeddings of {len(embedding)} numbers, but "
                    f"the field {name} is a Vector({length})"
                )
            self.vectors[number] = embedding

    def metadata_to_add(self) -> list[dict[str, Any] | None] | None:
        """The metadata of new records: the keys with a value."""
        columns = [{k: v for k, v in m.items() if v is not None} or None for m in self.metadatas]
        return columns if any(columns) else None

    def metadata_to_set(self) -> list[dict[str, Any]] | None:
        """The metadata of records that may exist: None removes a key."""
        return self.metadatas if any(self.metadatas) else None


def prepare_rows(fields: RecordFields, rows: Any) -> PreparedRows:
    """Validate rows and convert them to a collection's columns.

    Args:
        fields: The fields of their model.
        rows: One or more models or mappings; or a table of pandas or pyarrow.

    Raises:
        ValueError: A row does not match the model; the message names the row and the field.
        TypeError: A row is neither a model nor a mapping.
    """
    prepared = PreparedRows()
    for number, row in enumerate(_listed(rows)):
        path = f"rows[{number}]"
        valid = _validated(fields, row, path)
        prepared.ids.append(_id(fields, valid, path))
        prepared.vectors.append(_vector(fields, valid, path))
        prepared.sources.append(getattr(valid, fields.source.name) if fields.source else None)
        prepared.metadatas.append(_metadata(fields, valid, path))
        if prepared.vectors[-1] is None and prepared.sources[-1] is None:
            name = fields.source.name if fields.source else fields.vector
            raise ValueError(f"{path}.{name}: expected a vector or a value to embed, got neither")
    return prepared


def opens_uris(function: Any) -> bool:
    """Whether a function loads the data at URIs itself when it embeds records."""
    if isinstance(function, LanceDBAdapter):
        return True
    own = getattr(type(function), "compute_source_embeddings", None)
    return own not in (None, LanceDBMethods.compute_source_embeddings)


def embed(function: Any, inputs: list[Any]) -> list[Any]:
    """Embed inputs to be stored, with a function of either kind.

    Raises:
        ValueError: The function does not return one embedding for each input.
    """
    call = function.compute_source_embeddings if opens_uris(function) else function
    embeddings = validate_embeddings(normalize_embeddings(call(inputs)))
    if len(embeddings) != len(inputs):
        raise ValueError(
            f"The embedding function returned {len(embeddings)} embeddings for {len(inputs)} inputs"
        )
    return embeddings


def as_image(value: Any) -> Any:
    """Return an image as an array: an image of Pillow, the bytes of its file, or an array."""
    if isinstance(value, bytes):
        import io  # noqa: PLC0415

        value = load_extra("PIL.Image", "images").open(io.BytesIO(value))
    return np.asarray(value)


def convert_where(fields: RecordFields, where: Any) -> Any:
    """Check the keys of a filter, and convert its values to their stored form.

    Values that the field cannot have stay unchanged.

    Raises:
        ValueError: A key is not a field that filters can use.
    """
    if not isinstance(where, Mapping):
        raise TypeError(f"Expected where to be a dict, got {where!r:.80}")
    converted: dict[str, Any] = {}
    for key, value in where.items():
        if key in ("$and", "$or") and isinstance(value, list | tuple):
            converted[key] = [convert_where(fields, clause) for clause in value]
        elif key == "id" and fields.id_type is not None:
            converted["#id"] = _converted(value, partial(_id_operand, fields))
        elif key in fields.metadata:
            converted[key] = _converted(value, partial(operand, fields.metadata[key]))
        elif str(key).startswith(("#", "$")):
            converted[key] = _converted(value, plain)
        else:
            raise ValueError(
                f"where.{key}: {fields.model.__name__} has no such field to filter by; it has "
                f"{', '.join(fields.metadata)}"
            )
    return converted


def read_columns(
    fields: RecordFields,
    names: Sequence[str],
    ids: Sequence[str],
    documents: Sequence[str | None] | None,
    uris: Sequence[str | None] | None,
    metadatas: Sequence[Mapping[str, Any] | None] | None,
    embeddings: NDArray[Any] | None,
) -> dict[str, list[Any]]:
    """Return records as columns of the model's fields, in the order of the names.

    Raises:
        ValueError: A stored value does not have its field's type; the message names the record.
    """
    source = fields.source
    read: dict[str, Any] = {"id": [_id_value(fields, id) for id in ids], "_id": list(ids)}
    if embeddings is not None:
        read[fields.vector] = [_row(row) for row in embeddings]
    if source is not None:
        stored = {"text": documents, "uri": uris, "image": None}[source.kind]
        read[source.name] = [None] * len(ids) if stored is None else list(stored)
    rows = [metadata or {} for metadata in metadatas or [None] * len(ids)]
    for name in names:
        if name in fields.metadata:
            each = fields.metadata[name]
            read[name] = [_read(each, row, id) for row, id in zip(rows, ids, strict=True)]
    return {name: read[name] for name in names}


def validate_models(
    fields: RecordFields, model: type[M], columns: Mapping[str, Sequence[Any]]
) -> list[M]:
    """Return the records in columns as models.

    Raises:
        ValueError: A record does not match the model; the message names the field.
        TypeError: The model reads a field only from an `AliasPath`.
    """
    known = model.model_fields
    keys = {name: input_key(model, name) if name in known else name for name in columns}
    made = []
    for number in range(len(next(iter(columns.values()), ()))):
        row = {keys[n]: v[number] for n, v in columns.items() if v[number] is not MISSING}
        try:
            made.append(model.model_validate(row, strict=False))
        except ValidationError as error:
            raise ValueError(
                f"record {number} does not match {model.__name__}: {_reason(error)}"
            ) from error
    return made


def _listed(rows: Any) -> Iterable[Any]:
    if isinstance(rows, Mapping | BaseModel):
        return [rows]
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        present = rows.astype(object).where(rows.notna(), None)
        return [_without_none(row) for row in present.to_dict("records")]
    if hasattr(rows, "to_pylist"):
        return [_without_none(row) for row in rows.to_pylist()]
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise TypeError(f"Expected rows to be models, dicts or a table, got {rows!r:.80}")
    return rows


def _without_none(row: Mapping[str, Any]) -> dict[str, Any]:
    # A table has a cell for each row and column, so an empty cell is a missing value.
    return {key: value for key, value in row.items() if value is not None}


def _validated(fields: RecordFields, row: Any, path: str) -> BaseModel:
    model = fields.model
    if isinstance(row, model):
        return row
    if isinstance(row, BaseModel):
        row = dict(row)
    if not isinstance(row, Mapping):
        raise TypeError(f"{path}: expected a {model.__name__} or a dict, got {row!r:.80}")
    given = _by_input_keys(fields, row)
    if "extra" not in model.model_config:
        _check_known(fields, given, path)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        joint = "." if error.errors()[0]["loc"] else ": "
        raise ValueError(f"{path}{joint}{_reason(error)}") from error


def _by_input_keys(fields: RecordFields, row: Mapping[Any, Any]) -> dict[Any, Any]:
    given = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()
    }
    # Rows that a search returned have names, but the model's validation may expect an alias.
    for name, key in fields.input_keys.items():
        if name != key and name in given:
            given.setdefault(key, given.pop(name))
    vector = fields.input_keys[fields.vector]
    if vector in given and given[vector] is None:
        del given[vector]
    return given


def _check_known(fields: RecordFields, given: Mapping[Any, Any], path: str) -> None:
    unknown = [str(key) for key in given if key not in fields.known_keys]
    if unknown:
        raise ValueError(
            f"{path}.{unknown[0]}: {fields.model.__name__} has no such field; it has "
            f"{', '.join(fields.names)}"
        )


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # An error of the whole model has no location.
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _id(fields: RecordFields, valid: BaseModel, path: str) -> str:
    expected = fields.id_type
    if expected is None:
        return str(uuid4())
    id = getattr(valid, "id")  # noqa: B009
    if id is not None:
        return _checked_id(expected, id, path)
    if expected is int:
        raise ValueError(f"{path}.id: missing; the id is an int, and generated ids are UUIDs")
    return str(uuid4())


def _checked_id(expected: type[Any], id: Any, path: str) -> str:
    # Reading the record converts this text back to the id.
    text = str(id)
    try:
        expected(text)
    except ValueError as error:
        raise ValueError(f"{path}.id: expected {expected.__name__}, got {id!r:.80}") from error
    return text


def _vector(fields: RecordFields, valid: BaseModel, path: str) -> NDArray[np.float64] | None:
    value = getattr(valid, fields.vector)
    if value is None:
        return None
    try:
        return as_vector(value, fields.length)
    except ValueError as error:
        raise ValueError(f"{path}.{fields.vector}: {error}") from error


def _metadata(fields: RecordFields, valid: BaseModel, path: str) -> dict[str, Any]:
    names = set(fields.metadata)
    dumped = valid.model_dump(mode="json", include=names, by_alias=False, warnings=False)
    metadata: dict[str, Any] = {}
    for name, each in fields.metadata.items():
        if name not in dumped:
            raise ValueError(f"{path}.{name}: missing in the model's dump")
        given, value = getattr(valid, name), dumped[name]
        if isinstance(given, float) and not math.isfinite(given):
            raise ValueError(f"{path}.{name}: {given} is not a finite number")
        metadata[name] = _stored(each, given, value, f"{path}.{name}")
    return metadata


def _stored(each: MetadataField, given: Any, dumped: Any, path: str) -> Any:
    if each.is_subclass(datetime) or each.is_subclass(Decimal):
        # The dump keeps zones and trailing zeros, so equal values would have several forms.
        dumped = None if given is None else _converted(given, partial(stored, each))
    if each.is_list and isinstance(dumped, list):
        # Metadata has no empty lists, so an empty list is stored as a missing key.
        return [check_written(each, element, path) for element in dumped] or None
    if dumped is None and each.is_nullable:
        return None
    return check_written(each, dumped, path)


def _converted(value: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _converted(each, convert) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_converted(each, convert) for each in value]
    return convert(value)


def _id_operand(fields: RecordFields, value: Any) -> str:
    id = plain(value)
    is_whole = isinstance(id, float) and id.is_integer()
    return str(int(id) if is_whole and fields.id_type is int else id)


def _id_value(fields: RecordFields, id: str) -> Any:
    if fields.id_type in (None, str):
        return id
    try:
        return fields.id_type(id)
    except ValueError as error:
        raise ValueError(f"record {id!r}: the id is not a {fields.id_type.__name__}") from error


def _row(row: NDArray[Any]) -> Any:
    return None if np.isnan(row).all() else row.astype(np.float32)


def _read(each: MetadataField, metadata: Mapping[str, Any], id: str) -> Any:
    value = metadata.get(each.name)
    if value is None:
        if each.is_nullable:
            return None
        return [] if each.is_list else MISSING
    value = check_read(each, value, f"record {id!r}: {each.name}")
    if each.from_stored is None:
        return value
    try:
        return each.from_stored.validate_python(value, strict=False)
    except ValidationError as error:
        raise ValueError(f"record {id!r}: {each.name}: {_reason(error)}") from error
