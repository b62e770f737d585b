"""What each field of a model is to a collection: its document, its vector, an id or metadata."""

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
from pgchroma.model.filterable import Kind
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

_KINDS: Final[dict[type, Kind]] = {bool: "bool", int: "int", float: "float", str: "string"}

_AS_TEXT: Final = (datetime, date, UUID, Decimal)
"""Types that pydantic writes to JSON as texts, and reads back."""

_OF_IMAGES: Final = frozenset({"imagebind", "open_clip", "roboflow"})
"""Functions to which a text in a source field says where an image is, as in LanceDB."""

_OF_BOTH: Final = frozenset({"cohere", "jina"})
"""Functions of texts that embed images, too."""

_ALLOWED: Final = (
    "str, int, float, bool, datetime, date, UUID, Decimal, an Enum or Literal of one of these, a "
    "list of them, or None beside them"
)


@dataclass(frozen=True, slots=True)
class MetadataField:
    """A field that is a key of the metadata.

    Attributes:
        kind: Of what type it is there; of a list, its elements.
        element: Of what type it is in the model; of a list, its elements.
        default: What a record has that lacks the key; None also if there is no default.
        restore: Makes a value of the field's type of what is stored; None where that is the same.
    """

    name: str
    kind: Kind
    element: Any
    is_list: bool
    is_nullable: bool
    default: Any
    restore: TypeAdapter[Any] | None

    def is_of(self, parent: type[Any]) -> bool:
        """Whether its values, or elements, are of a class or of one derived from it."""
        return isinstance(self.element, type) and issubclass(self.element, parent)


@dataclass(frozen=True, slots=True)
class SourceField:
    """The field that is embedded."""

    name: str
    kind: SourceKind


@dataclass(frozen=True, slots=True)
class RecordFields:
    """A model as a collection has it.

    Attributes:
        vector: The name of the field that holds the embedding.
        length: How many numbers that is.
        function: Makes it of the source; None: nobody does.
        id_type: What ids are in the model; None: it has none.
        input_keys: What the model's validation calls each field.
        known_keys: All that a row may have as keys.
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
        """All the fields, in the model's order."""
        return list(self.model.model_fields)


def read_fields(model: type[BaseModel]) -> RecordFields:
    """Find out what each field of a model is.

    Raises:
        TypeError: The model cannot be a record; the message names the field.
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
    """Tell what a model's validation calls a field; of several keys, the first.

    Raises:
        TypeError: There is none: the model takes the field out of something else.
    """
    alias = model.model_fields[name].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    keys = [each for each in choices if isinstance(each, str)]
    if not keys:
        raise _refused(model, name, "an AliasPath alone cannot be read back; give it a name beside")
    return keys[0]


def _input_keys(model: type[BaseModel]) -> dict[str, str]:
    keys = {name: input_key(model, name) for name in model.model_fields}
    for name, key in keys.items():
        # A row may have names or aliases, and nobody could tell which of the two this is.
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
        raise TypeError(
            f"{model.__name__}: a record has one field of the type Vector(n); here are {names}"
        )
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
            f"{model.__name__}: a record has one field that is embedded; here are "
            f"{', '.join(sources)}"
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
        raise _refused(model, name, "the id cannot be what is embedded")
    kind = _source_kind(model, name, function)
    return SourceField(name, kind), chroma_function(function)


def _source_kind(model: type[BaseModel], name: str, function: Any) -> SourceKind:
    annotation, _ = _unwrapped(model.model_fields[name].annotation)
    if annotation is str:
        return "uri" if _takes(function, _OF_IMAGES) else "text"
    if not _takes(function, _OF_IMAGES | _OF_BOTH):
        raise _refused(model, name, f"what a function of texts embeds is a str, not {annotation}")
    if model.model_fields[name].is_required():
        raise _refused(
            model, name, "an image is embedded and not stored, so give the field a default of None"
        )
    return "image"


def _takes(function: Any, names: frozenset[str]) -> bool:
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
    # Without an argument, typing.List is a list of nobody knows what.
    is_list = get_origin(annotation) is list and get_args(annotation) != ()
    element = annotation
    if is_list:
        element, has_nulls = _unwrapped(get_args(annotation)[0])
        if has_nulls:
            raise _refused(model, name, "a list in the metadata has no None in it")
    kind = _kind(element)
    if kind is None:
        raise _refused(
            model, name, f"{_shown(field.annotation)} cannot be metadata; it has to be {_ALLOWED}"
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
    # What is stored is what the model is dumped as.
    if field.exclude or getattr(field, "exclude_if", None) is not None:
        raise _refused(model, name, "a field that is excluded from the model's dump is not stored")
    try:
        parse_metadata({name: ""}, f"{model.__name__}.{name}")
    except InvalidArgumentError as error:
        raise TypeError(error.message()) from error


def _kind(annotation: Any) -> Kind | None:
    if annotation in _KINDS:
        return _KINDS[annotation]
    if get_origin(annotation) is Literal:
        return _common_kind(get_args(annotation))
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, Enum):
        return _common_kind([member.value for member in annotation])
    return "string" if issubclass(annotation, _AS_TEXT) else None


def _common_kind(values: Any) -> Kind | None:
    kinds = {_KINDS.get(type(value)) for value in values}
    return kinds.pop() if len(kinds) == 1 else None


def _unwrapped(annotation: Any) -> tuple[Any, bool]:
    """Take a type out of what pydantic lets stand around it; and tell whether None is one, too."""
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
