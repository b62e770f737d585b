"""Values of fields: the one form they are stored in, and how they are read and filtered by."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas
import pyarrow
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, model_serializer

from pgchroma.client.typed.fields import read_fields
from pgchroma.client.typed.frames import to_arrow, to_list, to_pandas
from pgchroma.client.typed.rows import convert_where, prepare_rows, read_columns, validate_models
from pgchroma.records import Record, Vector

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


class Rank(enum.IntEnum):
    LOW = 1


class Row(Record):
    vector: Vector(1) = Field(default=(1.0,), validate_default=True)  # type: ignore[valid-type]
    whole: int = 0
    share: float = 0.0
    flag: bool = False
    word: str = ""
    rank: Rank = Rank.LOW
    wholes: list[int] = Field(default_factory=list)
    shares: list[float] = Field(default_factory=list)
    price: Decimal | None = None
    prices: list[Decimal] | None = None
    at: datetime | None = None
    times: list[datetime] | None = None
    maybe_whole: int | None = None
    maybe_share: float | None = None
    maybe_flag: bool | None = None


fields = read_fields(Row)


def written(row: Any) -> dict[str, Any]:
    return prepare_rows(fields, row).metadatas[0]


def read(*metadatas: dict[str, Any] | None) -> dict[str, list[Any]]:
    names = [name for name in fields.names if name != "vector"]
    ids = [f"r{number}" for number in range(len(metadatas))]
    return read_columns(fields, names, ids, None, None, metadatas, None)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1.50", "1.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("-0.0", "0"),
        ("0E+9", "0"),
        ("0.00000001", "0.00000001"),
        ("1" * 40 + ".500", "1" * 40 + ".5"),
        ("1.0E+999999", "1E+999999"),
        ("-1.0E-999999", "-1E-999999"),
    ],
    ids=str,
)
def test_equal_decimals_are_one_text(given: str, stored: str) -> None:
    number = Decimal(given)
    metadata = written({"price": number, "prices": [number]})
    assert (metadata["price"], metadata["prices"]) == (stored, [stored])
    assert convert_where(fields, {"price": number}) == {"price": stored}
    assert convert_where(fields, {"prices": {"$contains": given}}) == {
        "prices": {"$contains": stored}
    }
    assert read(metadata)["price"] == [number]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (NOON, "2026-06-01T12:00:00Z"),
        (NOON.astimezone(EAST), "2026-06-01T12:00:00Z"),
        (NOON.astimezone(ZoneInfo("Asia/Tokyo")), "2026-06-01T12:00:00Z"),
        (datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), "1879-12-31T23:06:32Z"),
        (datetime(2026, 6, 1, 12), "2026-06-01T12:00:00"),
        # UTC has no such time.
        (datetime(1, 1, 1, tzinfo=EAST), "0001-01-01T00:00:00+02:00"),
    ],
    ids=str,
)
def test_equal_times_are_one_text(given: datetime, stored: str) -> None:
    metadata = written({"at": given, "times": [given]})
    assert (metadata["at"], metadata["times"]) == (stored, [stored])
    for operand in (given, given.isoformat(), stored):
        assert convert_where(fields, {"at": {"$ne": operand}}) == {"at": {"$ne": stored}}
    assert read(metadata)["at"] == [given]


@pytest.mark.parametrize(
    ("key", "given", "converted"),
    [
        ("share", 1, 1.0),
        ("share", np.int64(1), 1.0),
        ("share", True, True),
        ("share", 2**53 + 1, 2**53 + 1),
        ("share", 10**400, 10**400),
        ("share", "x", "x"),
        ("whole", 5.0, 5),
        ("whole", np.float32(5), 5),
        ("whole", 5.5, 5.5),
        ("whole", 1e300, 1e300),
        ("whole", True, True),
        ("flag", 1, 1),
        ("word", 1, 1),
        ("rank", Rank.LOW, 1),
        ("rank", 1.0, 1),
        ("price", 2, "2"),
        ("price", 0.1, "0.1"),
        ("price", "dear", "dear"),
        ("at", date(2026, 6, 1), "2026-06-01T00:00:00"),
        ("at", "noon", "noon"),
        ("at", 7, 7),
        ("at", True, True),
        ("price", True, True),
    ],
    ids=str,
)
def test_a_filters_values_become_the_fields(key: str, given: Any, converted: Any) -> None:
    found = convert_where(fields, {key: {"$in": [given]}})[key]["$in"][0]
    assert (type(found), found) == (type(converted), converted)


def test_ids_are_filtered_by_as_texts() -> None:
    class Numbered(Row):
        id: int

    where = {"id": {"$in": [7, 8.0, "9", 1.5]}}
    assert convert_where(read_fields(Numbered), where) == {"#id": {"$in": ["7", "8", "9", "1.5"]}}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"word": 5}, "word: expected str, got 5"),
        ({"whole": "5"}, "whole: expected int, got '5'"),
        ({"whole": True}, "whole: expected int, got True"),
        ({"whole": 5.0}, "whole: expected int, got 5.0"),
        ({"flag": 1}, "flag: expected bool, got 1"),
        ({"share": "x"}, "share: expected float, got 'x'"),
        ({"wholes": 5}, "wholes: expected a list, got 5"),
        ({"wholes": ["a"]}, "wholes: expected int, got 'a'"),
        ({"word": ["a"]}, r"word: expected str, got \['a'\]"),
        ({"at": 5}, "at: expected str, got 5"),
        ({"at": "noon"}, "at: Input should be a valid datetime"),
        ({"rank": 9}, "rank: Input should be 1"),
        ({"price": 1.5}, "price: expected str, got 1.5"),
    ],
    ids=str,
)
def test_a_stored_value_of_another_type_is_named(metadata: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^record 'r1': {message}"):
        read({"word": "fine"}, metadata)


def test_stored_integers_are_floats_where_the_field_is() -> None:
    columns = read({"share": 2, "shares": [1, 2]})
    assert [type(each) for each in (*columns["share"], *columns["shares"][0])] == [float] * 3


def test_a_value_that_the_dump_leaves_out_is_refused() -> None:
    class Partial(Row):
        @model_serializer
        def dumped(self) -> dict[str, Any]:
            return {"share": self.share}

    class Hidden(Row):
        word: str = Field("", exclude=True)

    with pytest.raises(ValueError, match=r"^rows\[0\]\.whole: missing in the model's dump"):
        written(Partial())
    with pytest.raises(ValueError, match=r"^rows\[1\]\.word: missing in the model's dump"):
        prepare_rows(fields, [Row(), Hidden(word="lost")])


class TestIds:
    @pytest.mark.parametrize("declared", [{"id": (int | None, None)}, {"id": (int, None)}])
    def test_a_row_without_an_int_is_refused(self, declared: Any) -> None:
        annotation, default = declared["id"]
        model = type("M", (Row,), {"__annotations__": {"id": annotation}, "id": default})
        for lacking in ({}, {"id": None} if annotation is not int else {}, model()):
            with pytest.raises(ValueError, match=r"^rows\[1\]\.id: missing; the id is an int"):
                prepare_rows(read_fields(model), [{"id": 1}, lacking])

    @pytest.mark.parametrize("kind", [str, uuid.UUID])
    def test_others_get_a_uuid(self, kind: Any) -> None:
        model = type("M", (Row,), {"__annotations__": {"id": kind | None}, "id": None})
        (made,) = prepare_rows(read_fields(model), {}).ids
        assert uuid.UUID(made).version == 4

    def test_one_that_could_not_be_read_is_refused(self) -> None:
        class Numbered(Row):
            id: int

        with pytest.raises(ValueError, match=r"^rows\[0\]\.id: expected int, got 'x'"):
            prepare_rows(read_fields(Numbered), Numbered.model_construct(id="x", vector=[1.0]))


class TestAliases:
    class Aliased(Record):
        vector: Vector(1) = Field(alias="Vektor")  # type: ignore[valid-type]
        year: int = Field(validation_alias=AliasChoices(AliasPath("dates", 0), "jahr", "annee"))
        page: int = Field(alias="Seite")

    @pytest.mark.parametrize(
        "row",
        [
            {"Vektor": [1], "jahr": 5, "Seite": 3},
            {"vector": [1], "annee": 5, "page": 3},
            {"vector": [1], "year": 5, "Seite": 3, "page": 4},
            {"vector": [1], "dates": [5], "page": 3},
        ],
        ids=str,
    )
    def test_a_row_has_names_or_aliases(self, row: Any) -> None:
        prepared = prepare_rows(read_fields(self.Aliased), row)
        assert prepared.metadatas == [{"year": 5, "page": 3}]

    def test_others_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^rows\[0\]\.an: Aliased has no such field"):
            prepare_rows(read_fields(self.Aliased), {"vector": [1], "an": 5, "page": 3})

    def test_they_are_read_as_models(self) -> None:
        class Other(BaseModel):
            year: int = Field(validation_alias=AliasChoices("jahr", "annee"))

        class Pathed(BaseModel):
            year: int = Field(validation_alias=AliasPath("jahr", 0))

        own = read_fields(self.Aliased)
        (made,) = validate_models(own, self.Aliased, {"vector": [[1]], "year": [5], "page": [3]})
        assert (made.vector, made.year, made.page) == ([1.0], 5, 3)
        assert validate_models(own, Other, {"year": [5], "page": [3]})[0].year == 5
        with pytest.raises(TypeError, match=r"^Pathed\.year: an AliasPath alone"):
            validate_models(own, Pathed, {"year": [5]})


class TestFrames:
    KINDS = {  # noqa: RUF012
        "whole": "int64", "share": "float64", "flag": "bool", "word": "object", "rank": "object",
        "wholes": "object", "shares": "object", "price": "object", "prices": "object",
        "at": "datetime64[us, UTC]", "times": "object",
        "maybe_whole": "Int64", "maybe_share": "Float64", "maybe_flag": "boolean",
    }  # fmt: skip

    def frame(self, *metadatas: Any) -> Any:
        return to_pandas(fields, read(*metadatas))

    def test_columns_have_the_fields_types(self) -> None:
        own = {"whole": 2**60 + 1, "maybe_whole": 2**60 + 1, "maybe_flag": True, "rank": 1}
        frame = self.frame({**own, "at": "2026-06-01T12:00:00Z"}, {"maybe_share": 1})
        assert {name: str(kind) for name, kind in frame.dtypes.items()} == self.KINDS
        assert frame.whole.to_list() == [2**60 + 1, 0]
        assert frame.maybe_whole.to_list() == [2**60 + 1, pandas.NA]
        assert [type(each) for each in frame["rank"]] == [Rank, Rank]
        assert frame["at"][0] == NOON
        assert frame["price"][0] is None

    def test_columns_of_nothing_have_them_too(self) -> None:
        kinds = {name: str(kind) for name, kind in self.frame().dtypes.items()}
        assert kinds == {**self.KINDS, "at": "datetime64[us]"}

    def test_times_with_a_zone_and_without_stay_what_they_are(self) -> None:
        texts = ("2026-06-01T12:00:00", "2026-06-01T12:00:00Z")
        moments = self.frame(*({"at": text} for text in texts))["at"].to_list()
        assert moments == [NOON.replace(tzinfo=None), NOON]

    def test_a_field_that_a_record_lacks_has_none(self) -> None:
        class Strict(Record):
            vector: Vector(1)  # type: ignore[valid-type]
            whole: int

        own = read_fields(Strict)
        columns = read_columns(own, ["whole"], "ab", None, None, [{"whole": 2**60 + 1}, None], None)
        frame = to_pandas(own, columns)
        assert frame.whole.to_list() == [2**60 + 1, pandas.NA]

    def test_a_frame_can_be_written_back(self) -> None:
        rows = [
            {"maybe_whole": 2**60 + 1, "maybe_flag": True, "maybe_share": 1.5, "price": "1.5",
             "at": "2026-06-01T12:00:00Z", "shares": [1.0]},
            {},
        ]  # fmt: skip
        frame = self.frame(*rows)
        again = prepare_rows(fields, frame).metadatas
        assert to_list(fields, read(*again)) == to_list(fields, read(*rows))

    def test_ids_of_any_size_are_kept_or_refused(self) -> None:
        class Numbered(Row):
            id: int

        own = read_fields(Numbered)
        for ids, kind in (([], "int64"), (["7"], "int64"), (["7", str(2**70)], "object")):
            columns = read_columns(own, ["id"], ids, None, None, None, None)
            frame = to_pandas(own, columns)
            assert (str(frame.id.dtype), frame.id.to_list()) == (kind, [int(id) for id in ids])
        with pytest.raises(ValueError, match=r"^the column id does not fit int64: "):
            to_arrow(own, columns)

    def test_arrows_types_are_the_fields(self) -> None:
        schema = to_arrow(fields, read({"share": 1})).schema
        assert schema.field("share").type == pyarrow.float64()
        assert schema.field("at").type == pyarrow.timestamp("us")
