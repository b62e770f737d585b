"""The role of each field of a model in a collection: document, vector, id or metadata."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin
from uuid import UUID

from pydantic import AliasChoices, AliasPath, BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.embeddings.lancedb.fields import SourceMarker, VectorMarker
from pgchroma.embeddings.lancedb.functions import MultiModalEmbeddingFunction, TextEmbeddingFunction
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filterable import ValueKind
from pgchroma.model.metadata import parse_metadata
from pgchroma.records import VectorOfLength

__all__ = (
    "MetadataField",
    "RecordFields",
    "SourceField",
    "SourceKind",
    "input_key",
    "read_fields",
)

SourceKind: TypeAlias = Literal["text", "uri", "image"]

_KINDS: Final[dict[type, ValueKind]] = {bool: "bool", int: "int", float: "float", str: "string"}

_AS_TEXT: Final = (datetime, date, UUID, Decimal)
"""Types that pydantic converts to texts in JSON, and back."""

_IMAGE_FUNCTIONS: Final = frozenset({"imagebind", "open_clip", "roboflow"})
"""Functions for which a text in a source field is the URI of an image, as in LanceDB."""

_TEXT_AND_IMAGE_FUNCTIONS: Final = frozenset({"cohere", "jina"})
"""Functions that embed both texts and images."""

_ALLOWED: Final = (
    "str, int, float, bool, datetime, date, UUID, Decimal, an Enum or Literal of one of these, a "
    "list of them, or a union of one of these and None"
)


@dataclass(frozen=True, slots=True)
class MetadataField:
    """A field that is a key of the metadata.

    Attributes:
        kind: The stored type of the value, or of a list's elements.
        element: The type of the value in the model, or of a list's elements.
        default: The value of a record without the key; None if there is no default.
        from_stored: Converts a stored value to the field's type; None if both types are the same.
    """

    name: str
    kind: ValueKind
    element: Any
    is_list: bool
    is_nullable: bool
    default: Any
    from_stored: TypeAdapter[Any] | None

    def is_subclass(self, parent: type[Any]) -> bool:
        """Whether the class of the values, or of a list's elements, is derived from `parent`."""
        return isinstance(self.element, type) and issubclass(self.element, parent)


@dataclass(frozen=True, slots=True)
class SourceField:
    """The field that is embedded."""

    name: str
    kind: SourceKind


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The fields of a model by their role in a collection.

    Attributes:
        vector: The name of the field that contains the embedding.
        length: The length of the embedding.
        function: Embeds the source; None if rows contain their embeddings.
        id_type: The type of the field `id`; None if the model has no such field.
        input_keys: The key of each field in the input of the model's validation.
        known_keys: All keys that a row may have.
    """

    model: type[BaseModel]
    vector: str
    length: int
    function: Any
    source: SourceField | None
    id_type: type[Any] | None
    metadata: dict[str, MetadataField]
    input_keys: dict[str, str]
    known_keys: frozenset[str]

    @property
    def names(self) -> list[str]:
        """The names of all fields, in the model's order."""
        return list(self.model.model_fields)


def read_fields(model: type[BaseModel]) -> RecordFields:
    """Return the role of each field of a model.

    Raises:
        TypeError: A field of the model cannot be stored; the message names it.
    """
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise TypeError(f"Expected a class derived from Record or pydantic.BaseModel, got {model}")
    fields = model.model_fields
    vector, length = _vector_field(model)
    source, function = _source_field(model, vector)
    others = [name for name in fields if name not in (vector, source and source.name, "id")]
    id_type = None
    if "id" in fields:
        id_type = _id_type(model, fields["id"])
    return RecordFields(
        model,
        vector,
        length,
        function,
        source,
        id_type,
        {name: _metadata_field(model, name) for name in others},
        _input_keys(model),
        frozenset(fields) | {key for name in fields for key in _keys(model, name)},
    )


def input_key(model: type[BaseModel], name: str) -> str:
    """Return the key of a field in the input of the model's validation; the first of several.

    Raises:
        TypeError: The field has no key, because the model reads it from inside another value.
    """
    alias = model.model_fields[name].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    keys = [each for each in choices if isinstance(each, str)]
    if not keys:
        raise _refused(model, name, "an AliasPath alone cannot be read back; add a name")
    return keys[0]


def _input_keys(model: type[BaseModel]) -> dict[str, str]:
    keys = {name: input_key(model, name) for name in model.model_fields}
    for name, key in keys.items():
        # A row may have names or aliases, and this key could be either.
        if key != name and key in keys:
            raise _refused(model, name, f"its alias {key} is the name of another field")
    return keys


def _keys(model: type[BaseModel], name: str) -> Iterator[str]:
    alias = model.model_fields[name].validation_alias
    for each in alias.choices if isinstance(alias, AliasChoices) else [alias or name]:
        yield str(each.path[0]) if isinstance(each, AliasPath) else each


def _vector_field(model: type[BaseModel]) -> tuple[str, int]:
    found = [
        (name, length)
        for name, field in model.model_fields.items()
        if (length := _length(field)) is not None
    ]
    for name, field in model.model_fields.items():
        if isinstance(field.json_schema_extra, VectorMarker) and _length(field) is None:
            raise _refused(model, name, f"a VectorField is a Vector(n), not {field.annotation}")
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise TypeError(f"{model.__name__}: expected one field of the type Vector(n), got {names}")
    return found[0]


def _length(field: FieldInfo) -> int | None:
    inside, _ = _unwrapped(field.annotation)
    marks = (*field.metadata, *_marks(field.annotation), *_marks(inside))
    return next((mark.length for mark in marks if isinstance(mark, VectorOfLength)), None)


def _marks(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _marks(each)


def _source_field(model: type[BaseModel], vector: str) -> tuple[SourceField | None, Any]:
    fields = model.model_fields
    extra = fields[vector].json_schema_extra
    function = extra.function if isinstance(extra, VectorMarker) else None
    sources = [name for name, f in fields.items() if isinstance(f.json_schema_extra, SourceMarker)]
    if len(sources) > 1:
        raise TypeError(
            f"{model.__name__}: expected at most one source field, got {', '.join(sources)}"
        )
    if not sources:
        return None, chroma_function(function)
    name = sources[0]
    mark: Any = fields[name].json_schema_extra
    if function is None:
        raise _refused(model, vector, "declare it with the VectorField of the source's function")
    if mark.function is not function:
        raise _refused(model, name, "its function is not that of the VectorField")
    if name == "id":
        raise _refused(model, name, "the id cannot be embedded")
    kind = _source_kind(model, name, function)
    return SourceField(name, kind), chroma_function(function)


def _source_kind(model: type[BaseModel], name: str, function: Any) -> SourceKind:
    annotation, _ = _unwrapped(model.model_fields[name].annotation)
    if annotation is str:
        return "uri" if _takes_images(function, _IMAGE_FUNCTIONS) else "text"
    if not _takes_images(function, _IMAGE_FUNCTIONS | _TEXT_AND_IMAGE_FUNCTIONS):
        raise _refused(model, name, f"a function of texts embeds a str, not {annotation}")
    if model.model_fields[name].is_required():
        raise _refused(
            model, name, "an image is embedded and not stored, so give the field a default of None"
        )
    return "image"


def _takes_images(function: Any, names: frozenset[str]) -> bool:
    if isinstance(function, MultiModalEmbeddingFunction):
        return not isinstance(function, TextEmbeddingFunction)
    return function.name() in names


def _id_type(model: type[BaseModel], field: FieldInfo) -> type[Any]:
    annotation, _ = _unwrapped(field.annotation)
    if annotation not in (str, int, UUID):
        raise _refused(model, "id", f"an id is a str, an int or a UUID, not {_shown(annotation)}")
    found: type[Any] = annotation
    return found


def _metadata_field(model: type[BaseModel], name: str) -> MetadataField:
    field = model.model_fields[name]
    _check_stored(model, name, field)
    annotation, is_nullable = _unwrapped(field.annotation)
    # typing.List without an argument does not say what its elements are.
    is_list = get_origin(annotation) is list and get_args(annotation) != ()
    element = annotation
    if is_list:
        element, has_nulls = _unwrapped(get_args(annotation)[0])
        if has_nulls:
            raise _refused(model, name, "a list in the metadata cannot contain None")
    kind = _kind(element)
    if kind is None:
        raise _refused(
            model, name, f"{_shown(field.annotation)} cannot be metadata; expected {_ALLOWED}"
        )
    is_same = element in _KINDS
    return MetadataField(
        name,
        kind,
        element,
        is_list,
        is_nullable,
        None if field.is_required() else field.get_default(),
        None if is_same else TypeAdapter(annotation),
    )


def _check_stored(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    # Records store what the model's dump contains.
    if field.exclude or getattr(field, "exclude_if", None) is not None:
        raise _refused(model, name, "a field that is excluded from the model's dump is not stored")
    try:
        parse_metadata({name: ""}, f"{model.__name__}.{name}")
    except InvalidArgumentError as error:
        raise TypeError(error.message()) from error


def _kind(annotation: Any) -> ValueKind | None:
    if annotation in _KINDS:
        return _KINDS[annotation]
    if get_origin(annotation) is Literal:
        return _common_kind(get_args(annotation))
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, Enum):
        return _common_kind([member.value for member in annotation])
    return "string" if issubclass(annotation, _AS_TEXT) else None


def _common_kind(values: Any) -> ValueKind | None:
    kinds: set[ValueKind | None] = {_KINDS.get(type(value)) for value in values}
    return kinds.pop() if len(kinds) == 1 else None


def _unwrapped(annotation: Any) -> tuple[Any, bool]:
    """Return the type inside annotations, aliases and unions, and whether None is allowed."""
    is_nullable = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif get_origin(annotation) in (Union, types.UnionType):
            inside = [each for each in get_args(annotation) if each is not type(None)]
            if len(inside) == len(get_args(annotation)) or len(inside) != 1:
                return annotation, is_nullable
            annotation, is_nullable = inside[0], True
        else:
            return annotation, is_nullable


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _refused(model: type[BaseModel], name: str, reason: str) -> TypeError:
    return TypeError(f"{model.__name__}.{name}: {reason}")
