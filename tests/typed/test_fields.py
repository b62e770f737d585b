"""Models that can be records, and the arguments of `Vector`."""

from __future__ import annotations

import enum
from typing import Annotated, Any, List, Literal, NewType, Optional  # noqa: UP035

import numpy as np
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, ValidationError, create_model

from pgchroma.client.typed.fields import read_fields
from pgchroma.embeddings import MultiModalEmbeddingFunction
from pgchroma.records import Record, Vector
from tests.typed.letters import Letters

letters, other = Letters.create(), Letters.create()
Pages = NewType("Pages", int)


class Inner(BaseModel):
    x: int


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Pictures(MultiModalEmbeddingFunction):
    def ndims(self) -> int:
        return 1

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        return [[1.0]]

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        return [[1.0]]


pictures = Pictures()


def model_with(**fields: Any) -> type[BaseModel]:
    """A model of fields, each a type or a type with a default."""
    annotations = {
        name: each[0] if isinstance(each, tuple) else each for name, each in fields.items()
    }
    defaults = {name: each[1] for name, each in fields.items() if isinstance(each, tuple)}
    return type("Model", (Record,), {"__annotations__": annotations, **defaults})


class TestVector:
    class Point(Record):
        place: Vector(2)  # type: ignore[valid-type]
        other: Vector(2) | None = None  # type: ignore[valid-type]

    @pytest.mark.parametrize(
        "value",
        [
            [1, 2],
            (1.0, 2.0),
            np.array([1, 2]),
            np.array([1, 2], np.float16),
            np.array([1, 2], "u1"),
        ],
        ids=str,
    )
    def test_it_takes_any_row_of_numbers(self, value: Any) -> None:
        place = self.Point(place=value).place
        assert place == [1.0, 2.0]
        assert {type(each) for each in place} == {float}

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ([1], "got 1"),
            ([1, 2, 3], "got 3"),
            ([1, float("nan")], "got NaN or infinity"),
            ([1, float("inf")], "got NaN or infinity"),
            (["1", "2"], r"got \['1', '2'\]"),
            ([True, False], r"got \[True, False\]"),
            ([[1, 2]], r"got \[\[1, 2\]\]"),
            ([[1], [1, 2]], r"got \[\[1\], \[1, 2\]\]"),
            ([None, 1], r"got \[None, 1\]"),
            ("12", "got '12'"),
            (None, "got None"),
            (7, "got 7"),
        ],
        ids=str,
    )
    def test_it_refuses_everything_else(self, value: Any, reason: str) -> None:
        with pytest.raises(ValidationError, match=f"a vector of 2 finite numbers, {reason}"):
            self.Point(place=value)

    @pytest.mark.parametrize("length", [0, -1, True, 1.5, "3", None])
    def test_its_length_is_a_number(self, length: Any) -> None:
        with pytest.raises(ValueError, match="length of a vector to be at least 1"):
            Vector(length)

    def test_it_is_shown_and_described(self) -> None:
        point = self.Point(place=[1, 2])
        assert point.model_dump() == {"place": [1.0, 2.0], "other": None}
        assert point.model_dump_json() == '{"place":[1.0,2.0],"other":null}'
        described = self.Point.model_json_schema()["properties"]["place"]
        assert (described["type"], described["minItems"], described["maxItems"]) == ("array", 2, 2)

    def test_the_field_of_a_function_is_none_until_it_is_embedded(self) -> None:
        model = model_with(
            text=(str, letters.SourceField()), vector=(Vector(3), letters.VectorField())
        )
        assert model(text="a").model_dump() == {"text": "a", "vector": None}
        assert model.model_json_schema()["properties"]["text"]["pgchroma"] == "source"


@pytest.mark.parametrize(
    ("annotation", "kind", "is_list"),
    [
        (str, "string", False),
        (Optional[int], "int", False),  # noqa: UP045
        (int | None, "int", False),
        (Annotated[float, Field(ge=0)], "float", False),
        (Annotated[bool, "x"] | None, "bool", False),
        (Pages, "int", False),
        (Literal[1, 2], "int", False),
        (list[int], "int", True),
        (list[Annotated[str, Field(min_length=1)]] | None, "string", True),
    ],
    ids=str,
)
def test_a_fields_kind_is_that_of_its_values(annotation: Any, kind: str, is_list: bool) -> None:
    fields = read_fields(model_with(vector=Vector(3), value=annotation))
    assert (fields.metadata["value"].kind, fields.metadata["value"].is_list) == (kind, is_list)


@pytest.mark.parametrize(
    "annotation",
    [Inner, dict[str, int], Any, int | str, bytes, Mixed, list[Inner], list[list[int]], list[Any],
     set[int], object, Literal[1, "a"], Optional[int | str], complex, list, List],  # noqa: UP006, UP045
    ids=str,
)  # fmt: skip
def test_a_field_that_cannot_be_metadata_is_named(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"^Model\.value: .* cannot be metadata; expected str"):
        read_fields(model_with(vector=Vector(3), value=annotation))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a": str}, r"^Model: expected one field of the type Vector\(n\), got none"),
        ({"a": Vector(1), "b": Vector(2)}, "of the type Vector.n., got a, b"),
        ({"v": (list[float], letters.VectorField())}, r"^Model\.v: a VectorField is a Vector"),
        ({"v": Vector(3), "t": (str, letters.SourceField())}, r"^Model\.v: declare it with the Ve"),
        (
            {"v": (Vector(3), other.VectorField()), "t": (str, letters.SourceField())},
            r"^Model\.t: its function is not that of the VectorField",
        ),
        (
            {
                "v": (Vector(3), letters.VectorField()),
                "a": (str, letters.SourceField()),
                "b": (str, letters.SourceField()),
            },
            "^Model: expected at most one source field, got a, b",
        ),
        (
            {"v": (Vector(3), letters.VectorField()), "t": (bytes, letters.SourceField())},
            r"^Model\.t: a function of texts embeds a str, not",
        ),
        (
            {"v": (Vector(3), letters.VectorField()), "id": (str, letters.SourceField())},
            r"^Model\.id: the id cannot be embedded",
        ),
        (
            {"v": (Vector(1), pictures.VectorField()), "image": (Any, pictures.SourceField())},
            r"^Model\.image: an image is embedded and not stored, so give .* default of None",
        ),
        ({"v": Vector(3), "id": float}, r"^Model\.id: an id is a str, an int or a UUID, not float"),
        ({"v": Vector(3), "x": list[int | None]}, r"^Model\.x: a list .* cannot contain None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_a_record_says_why(fields: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        read_fields(model_with(**fields))


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (Field(exclude=True), "a field that is excluded from the model's dump is not stored"),
        (Field(validation_alias=AliasPath("years", 0)), "an AliasPath alone cannot be read back"),
        (
            Field(validation_alias=AliasChoices(AliasPath("a", 0), AliasPath("b", 0))),
            "an AliasPath alone cannot be read back",
        ),
        (Field(alias="vector"), "its alias vector is the name of another field"),
    ],
    ids=str,
)
def test_a_field_that_would_be_lost_or_not_read_back_is_refused(declared: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=rf"^Model\.year: {reason}"):
        read_fields(model_with(vector=Vector(3), year=(int, declared)))


def test_the_vector_need_not_be_dumped() -> None:
    fields = read_fields(model_with(vector=(Vector(3), Field(exclude=True)), year=int))
    assert list(fields.metadata) == ["year"]


@pytest.mark.parametrize("name", ["", "$x", "#x", "chroma:x", "a\0b"], ids=repr)
def test_a_name_that_no_metadata_can_have_is_refused(name: str) -> None:
    fields: dict[str, Any] = {"vector": (Vector(3), ...), name: (int, ...)}
    model = create_model("Named", __base__=Record, **fields)
    with pytest.raises(TypeError, match=r"(?s)^Named\..*: .*(key|reserved)"):
        read_fields(model)


@pytest.mark.parametrize("model", [int, None, "Article", {"text": str}, Inner(x=1)], ids=str)
def test_something_that_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(TypeError, match="Expected a class derived from Record or pydantic"):
        read_fields(model)
