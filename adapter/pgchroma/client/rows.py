"""Rows of a typed table on their way into a collection, and records on their way out of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from pgchroma.client.fields import MetadataField, RecordFields
from pgchroma.embeddings.adapting import AdaptedFunction
from pgchroma.embeddings.extras import load_extra
from pgchroma.embeddings.protocol import normalize_embeddings, validate_embeddings
from pgchroma.embeddings.sourcing import Sourcing
from pgchroma.model.metadata import fits_int64
from pgchroma.records import as_vector

__all__ = (
    "ABSENT",
    "PreparedRows",
    "as_image",
    "convert_where",
    "embed",
    "opens_uris",
    "prepare_rows",
    "read_columns",
    "validate_models",
)

ABSENT: Final = object()
"""Stands for a value that a record does not have and its field has no way to say."""

_TYPES: Final[dict[str, type[Any]]] = {"string": str, "int": int, "float": float, "bool": bool}


@dataclass(slots=True)
class PreparedRows:
    """Rows as columns; those of `vectors` that are None are to be made from `sources`."""

    ids: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float64] | None] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    metadatas: list[dict[str, Any]] = field(default_factory=list)

    def missing(self) -> list[int]:
        """Number the rows that are to be embedded."""
        return [number for number, vector in enumerate(self.vectors) if vector is None]

    def fill(self, embeddings: Sequence[Any], name: str, length: int) -> None:
        """Put in the embeddings of the rows that have none.

        Raises:
            ValueError: They are not as long as the field says.
        """
        for number, embedding in zip(self.missing(), embeddings, strict=True):
            if len(embedding) != length:
                raise ValueError(
                    f"The embedding function gives embeddings of {len(embedding)} numbers, and "
                    f"the field {name} is a Vector({length})"
                )
            self.vectors[number] = embedding

    def metadata_to_add(self) -> list[dict[str, Any] | None] | None:
        """What new records have: the keys with a value."""
        columns = [{k: v for k, v in m.items() if v is not None} or None for m in self.metadatas]
        return columns if any(columns) else None

    def metadata_to_set(self) -> list[dict[str, Any]] | None:
        """What records that may be there get: None for the keys they are to lose."""
        return self.metadatas if any(self.metadatas) else None


def prepare_rows(fields: RecordFields, rows: Any) -> PreparedRows:
    """Check rows and bring them to a collection's columns.

    Args:
        fields: Of which model they are.
        rows: Models or mappings, one or many; or a table of pandas or pyarrow.

    Raises:
        ValueError: A row is not as the model wants it; the message names the row and the field.
        TypeError: These are no rows.
    """
    prepared = PreparedRows()
    for number, row in enumerate(_listed(rows)):
        place = f"rows[{number}]"
        valid = _validated(fields, row, place)
        prepared.ids.append(_id(fields, valid))
        prepared.vectors.append(_vector(fields, valid, place))
        prepared.sources.append(getattr(valid, fields.source.name) if fields.source else None)
        prepared.metadatas.append(_metadata(fields, valid, place))
        if prepared.vectors[-1] is None and prepared.sources[-1] is None:
            wanted = fields.source.name if fields.source else fields.vector
            raise ValueError(f"{place}.{wanted}: there is no vector, and nothing to embed")
    return prepared


def opens_uris(function: Any) -> bool:
    """Whether a function that is given URIs as what to store embeds what they point at."""
    if isinstance(function, AdaptedFunction):
        return True
    own = getattr(type(function), "compute_source_embeddings", None)
    return own not in (None, Sourcing.compute_source_embeddings)


def embed(function: Any, inputs: list[Any]) -> list[Any]:
    """Embed inputs, to be stored, with any embedding function.

    Raises:
        ValueError: It does not give one embedding for each.
    """
    call = function.compute_source_embeddings if opens_uris(function) else function
    made = validate_embeddings(normalize_embeddings(call(inputs)))
    if len(made) != len(inputs):
        raise ValueError(
            f"The embedding function gave {len(made)} embeddings for {len(inputs)} inputs"
        )
    return made


def as_image(value: Any) -> Any:
    """Make an array of an image of Pillow's, or of a file's bytes."""
    if isinstance(value, bytes):
        import io  # noqa: PLC0415

        value = load_extra("PIL.Image", "images").open(io.BytesIO(value))
    return np.asarray(value)


def convert_where(fields: RecordFields, where: Any) -> Any:
    """Check the keys of a filter, and bring its values to the form they are stored in.

    Raises:
        ValueError: A key is no field that can be filtered by.
    """
    if not isinstance(where, Mapping):
        raise TypeError(f"Expected where to be a dict, got {where!r:.80}")
    converted: dict[str, Any] = {}
    for key, value in where.items():
        if key in ("$and", "$or") and isinstance(value, list | tuple):
            converted[key] = [convert_where(fields, clause) for clause in value]
        elif key == "id" and fields.id_type is not None:
            converted["#id"] = _stored(value, as_id=True)
        elif key in fields.metadata or str(key).startswith(("#", "$")):
            converted[key] = _stored(value)
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
    """Shape records as columns of the model's fields, in the order of the names.

    Raises:
        ValueError: A stored value is none of its field's type; the message names the record.
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
    fields: RecordFields, model: type[BaseModel], columns: Mapping[str, Sequence[Any]]
) -> list[Any]:
    """Make models of columns.

    Raises:
        ValueError: A record is not as the model wants it; the message names the field.
    """
    keys = {name: _key_of(fields, model, name) for name in columns}
    made = []
    for number in range(len(next(iter(columns.values()), ()))):
        row = {keys[n]: v[number] for n, v in columns.items() if v[number] is not ABSENT}
        try:
            made.append(model.model_validate(row, strict=False))
        except ValidationError as fault:
            raise ValueError(f"record {number} is no {model.__name__}: {_reason(fault)}") from fault
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
    # A table has a cell for each row and column, so an empty one is a value that was not given.
    return {key: value for key, value in row.items() if value is not None}


def _validated(fields: RecordFields, row: Any, place: str) -> BaseModel:
    model = fields.model
    if isinstance(row, model):
        return row
    if isinstance(row, BaseModel):
        row = dict(row)
    if not isinstance(row, Mapping):
        raise TypeError(f"{place}: expected a {model.__name__} or a dict, got {row!r:.80}")
    given = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()
    }
    for key in {fields.vector, fields.vector_key} & given.keys():
        if given[key] is None:
            del given[key]
    if "extra" not in model.model_config:
        _check_known(model, given, place)
    try:
        return model.model_validate(given)
    except ValidationError as fault:
        raise ValueError(f"{place}.{_reason(fault)}") from fault


def _check_known(model: type[BaseModel], given: Mapping[str, Any], place: str) -> None:
    known = set(model.model_fields)
    for each in model.model_fields.values():
        alias = each.validation_alias
        if alias is not None and not isinstance(alias, str):
            return
        known.add(alias or "")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise ValueError(
            f"{place}.{unknown[0]}: {model.__name__} has no such field; it has "
            f"{', '.join(model.model_fields)}"
        )


def _reason(fault: ValidationError) -> str:
    first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _id(fields: RecordFields, valid: BaseModel) -> str:
    id = getattr(valid, "id") if fields.id_type is not None else None  # noqa: B009
    return str(uuid4() if id is None else id)


def _vector(fields: RecordFields, valid: BaseModel, place: str) -> NDArray[np.float64] | None:
    value = getattr(valid, fields.vector)
    if value is None:
        return None
    try:
        return as_vector(value, fields.length)
    except ValueError as fault:
        raise ValueError(f"{place}.{fields.vector}: {fault}") from fault


def _metadata(fields: RecordFields, valid: BaseModel, place: str) -> dict[str, Any]:
    names = set(fields.metadata)
    dumped = valid.model_dump(mode="json", include=names, by_alias=False, warnings=False)
    for name, value in dumped.items():
        each, given = fields.metadata[name], getattr(valid, name)
        if isinstance(given, float) and not math.isfinite(given):
            raise ValueError(f"{place}.{name}: {given} is not a finite number")
        if each.is_list and isinstance(value, list):
            # No list is an empty list: the metadata has no other way to say it.
            clean = [_checked(each, element, f"{place}.{name}") for element in value]
            dumped[name] = clean or None
        elif value is not None or not each.is_nullable:
            dumped[name] = _checked(each, value, f"{place}.{name}")
    return dumped


def _checked(each: MetadataField, value: Any, place: str) -> Any:
    # What pydantic has validated passes; defaults and later changes it has not looked at.
    expected = _TYPES[each.kind]
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(f"{place}: expected {expected.__name__}, got {value!r:.80}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: {value} is not a finite number")
    if isinstance(value, int) and not fits_int64(value):
        raise ValueError(f"{place}: {value} does not fit 64 bits")
    return value


def _stored(value: Any, *, as_id: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {key: _stored(each, as_id=as_id) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_stored(each, as_id=as_id) for each in value]
    plain = value.item() if isinstance(value, np.generic) else to_jsonable_python(value)
    return str(plain) if as_id else plain


def _id_value(fields: RecordFields, id: str) -> Any:
    if fields.id_type in (None, str):
        return id
    try:
        return fields.id_type(id)
    except ValueError as fault:
        raise ValueError(f"record {id!r}: its id is no {fields.id_type.__name__}") from fault


def _row(row: NDArray[Any]) -> Any:
    return None if np.isnan(row).all() else row.astype(np.float32)


def _read(each: MetadataField, metadata: Mapping[str, Any], id: str) -> Any:
    value = metadata.get(each.name)
    if value is None:
        if each.is_nullable:
            return None
        return [] if each.is_list else ABSENT
    if each.restore is None:
        return value
    try:
        return each.restore.validate_python(value, strict=False)
    except ValidationError as fault:
        raise ValueError(f"record {id!r}: {each.name}: {_reason(fault)}") from fault


def _key_of(fields: RecordFields, model: type[BaseModel], name: str) -> str:
    if model is not fields.model:
        known = model.model_fields.get(name)
        alias = None if known is None else known.validation_alias
        return alias if isinstance(alias, str) else name
    if name in fields.metadata:
        return fields.metadata[name].input_key
    if name == fields.vector:
        return fields.vector_key
    if fields.source is not None and name == fields.source.name:
        return fields.source.input_key
    return fields.id_key if name == "id" else name
