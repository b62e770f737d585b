"""Tables, in every mode."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal

import numpy as np
import pandas
import psycopg
import pyarrow
import pytest
from pydantic import AliasChoices, BaseModel, Field

from pgchroma import errors
from pgchroma.embeddings import MultiModalEmbeddingFunction, TextEmbeddingFunction, register
from pgchroma.records import Record, Vector
from tests.typed.letters import Letters, done

letters = Letters.create()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Rank(IntEnum):
    LOW = 1
    HIGH = 2


class Article(Record):
    text: str = letters.SourceField()
    vector: Vector(3) = letters.VectorField()  # type: ignore[valid-type]
    year: int
    score: float = 0
    is_read: bool | None = None


class Everything(Record):
    id: int
    text: str = letters.SourceField()
    vector: Vector(3) = letters.VectorField()  # type: ignore[valid-type]
    on: date | None = None
    at: datetime | None = None
    key: uuid.UUID | None = None
    price: Decimal | None = None
    colour: Colour = Colour.RED
    rank: Rank = Rank.LOW
    size: Literal["S", "L"] = "S"
    tags: list[str] = Field(default_factory=list)
    days: list[date] = Field(default_factory=list)
    numbers: list[float] | None = None


class Point(BaseModel):
    id: str
    place: Vector(2)  # type: ignore[valid-type]
    name: str | None = None


ROWS = [
    {"text": "aaa", "year": 1998},
    {"text": "abb", "year": 2024, "score": 1.5, "is_read": True},
    {"text": "ccc", "year": 2025, "is_read": False},
]


@pytest.fixture
async def table(mode: Any) -> Any:
    made = await mode.create_table("articles", Article)
    await done(made.add(ROWS))
    return made


async def test_rows_are_embedded_stored_and_found(table: Any) -> None:
    found = await done(table.search("bb").limit(2).to_list())
    assert found == [
        {"text": "abb", "vector": [1, 2, 0], "year": 2024, "score": 1.5, "is_read": True,
         "_distance": 1.0},
        {"text": "aaa", "vector": [3, 0, 0], "year": 1998, "score": 0.0, "is_read": None,
         "_distance": 13.0},
    ]  # fmt: skip
    assert await done(table.count_rows()) == 3


async def test_a_vector_and_no_query_at_all_search_too(table: Any) -> None:
    for vector in ([0, 0, 3], np.array([0, 0, 3], np.float32), (0.0, 0.0, 3.0)):
        found = await done(table.search(vector).limit(1).select(["text"]).to_list())
        assert found == [{"text": "ccc", "_distance": 0.0}]
    everything = await done(table.search().select(["year"]).to_list())
    assert everything == [{"year": 1998}, {"year": 2024}, {"year": 2025}]
    assert await done(table.search().limit(1).select(["year"]).to_list()) == [{"year": 1998}]


async def test_conditions_add_up(table: Any) -> None:
    search = table.search("a").where({"year": {"$gte": 2000}}).select(["text"])
    texts = [row["text"] for row in await done(search.to_list())]
    assert texts == ["abb", "ccc"]
    narrower = search.where({"is_read": False})
    assert [row["text"] for row in await done(narrower.to_list())] == ["ccc"]
    by_text = search.where_document({"$contains": "ab"}).where_document({"$contains": "bb"})
    assert [row["text"] for row in await done(by_text.to_list())] == ["abb"]
    assert [row["text"] for row in await done(search.to_list())] == ["abb", "ccc"]
    with pytest.raises(ValueError, match="yaer: Article has no such field to filter by; it has ye"):
        table.search().where({"$and": [{"yaer": 1}, {"year": 2}]})
    with pytest.raises(ValueError, match="no field 'author' to select"):
        table.search().select(["author"])


async def test_results_come_in_every_form(table: Any) -> None:
    search = table.search("c").limit(2)
    models = await done(search.to_pydantic())
    assert [type(model) for model in models] == [Article, Article]
    assert models[0] == Article(text="ccc", vector=[0, 0, 3], year=2025, is_read=False)

    class Short(BaseModel):
        text: str
        year: int

    assert (await done(search.to_pydantic(Short)))[0] == Short(text="ccc", year=2025)
    frame = await done(search.to_pandas())
    assert list(frame.columns) == ["text", "vector", "year", "score", "is_read", "_distance"]
    assert frame.vector[0].dtype == np.float32
    assert frame.text.to_list() == ["ccc", "abb"]
    arrow = await done(search.to_arrow())
    assert arrow.schema.field("vector").type == pyarrow.list_(pyarrow.float32(), 3)
    assert arrow.column("year").to_pylist() == [2025, 2024]
    none = await done(search.where({"year": 1}).to_arrow())
    assert none.schema == arrow.schema
    assert none.num_rows == 0
    assert list((await done(search.where({"year": 1}).to_pandas())).columns) == list(frame.columns)


async def test_a_record_of_every_type_comes_back_as_it_was(mode: Any) -> None:
    table = await mode.create_table("everything", Everything)
    full = Everything(
        id=1, text="a", vector=[1, 0, 0], on=date(2026, 11, 21),
        at=datetime(2026, 11, 21, 12, tzinfo=UTC), key=uuid.UUID(int=7), price=Decimal("1.50"),
        colour=Colour.BLUE, rank=Rank.HIGH, size="L", tags=["x", "y"],
        days=[date(2026, 1, 1)], numbers=[1, 2.5],
    )  # fmt: skip
    bare = Everything(id=2, text="b", vector=[0, 1, 0])
    assert await done(table.add([full, bare])) == ["1", "2"]
    assert await done(table.get([2, 1, 3])) == [bare, full]
    assert await done(table.search("a").to_pydantic()) == [full, bare]
    listed = (await done(table.search("a").limit(1).to_list()))[0]
    assert {key: listed[key] for key in ("id", "at", "colour", "days")} == {
        "id": 1, "at": full.at, "colour": Colour.BLUE, "days": [date(2026, 1, 1)],
    }  # fmt: skip
    arrow = await done(table.search().to_arrow())
    kinds = {name: str(arrow.schema.field(name).type) for name in ("id", "on", "at", "price")}
    assert kinds == {
        "id": "int64", "on": "date32[day]", "at": "timestamp[us, tz=UTC]", "price": "string",
    }  # fmt: skip
    for where in (
        {"on": date(2026, 11, 21)}, {"at": full.at}, {"key": uuid.UUID(int=7)},
        {"price": Decimal("1.50")}, {"colour": Colour.BLUE}, {"rank": {"$in": [Rank.HIGH]}},
        {"rank": {"$gt": 1}}, {"size": {"$ne": "S"}}, {"tags": {"$contains": "x"}},
        {"days": {"$contains": date(2026, 1, 1)}}, {"id": 1}, {"id": {"$in": [1, 9]}},
        {"$or": [{"on": date(2026, 11, 21)}, {"colour": "green"}]},
    ):  # fmt: skip
        found = await done(table.search().where(where).select(["id"]).to_list())
        assert found == [{"id": 1}], where


async def test_a_faulty_row_is_named_and_nothing_is_stored(table: Any) -> None:
    good = {"text": "a", "year": 1}
    for bad, message in (
        ({"text": "a", "year": "x"}, r"^rows\[1\]\.year: Input should be a valid integer"),
        ({"year": 1}, r"^rows\[1\]\.text: Field required"),
        ({**good, "author": 1}, r"^rows\[1\]\.author: Article has no such field; it has text"),
        ({**good, "score": float("nan")}, r"^rows\[1\]\.score: nan is not a finite number"),
        ({**good, "year": 2**63}, r"^rows\[1\]\.year: 9223372036854775808 does not fit 64 bits"),
        ({**good, "vector": [1.0]}, r"^rows\[1\]\.vector: Expected a vector of 3 finite numbers"),
        (Article.model_construct(text="a", year="x"), r"^rows\[1\]\.year: expected int, got 'x'"),
        (Article.model_construct(text=None, year=1, vector=None), r"^rows\[1\]\.text: expected a"),
    ):  # fmt: skip
        for method in (table.add, table.upsert):
            with pytest.raises(ValueError, match=message):
                await done(method([good, bad]))
    for rows in (7, "text", [7]):
        with pytest.raises(TypeError, match=r"^(Expected rows|rows\[0\]: expected)"):
            await done(table.add(rows))
    assert await done(table.count_rows()) == 3
    assert await done(table.add([])) == []


async def test_rows_come_from_models_frames_and_single_dicts(table: Any) -> None:
    frame = pandas.DataFrame(
        [{"text": "x", "year": 1, "is_read": True}, {"text": "y", "year": 2, "score": 2.5}]
    )
    ids = await done(table.add(frame))
    assert [uuid.UUID(id).version for id in ids] == [4, 4]
    stored = await done(table.get(ids))
    assert [(s.text, s.year, s.score, s.is_read) for s in stored] == [
        ("x", 1, 0, True), ("y", 2, 2.5, None),
    ]  # fmt: skip
    ids = await done(table.add(pyarrow.table({"text": ["z"], "year": [3]})))
    assert (await done(table.get(ids[0])))[0].year == 3
    ids = await done(table.add({"text": "w", "year": np.int64(4), "vector": None}))
    ids += await done(table.add(Article(text="v", year=5, vector=[9, 9, 9])))
    assert [each.vector for each in await done(table.get(ids))] == [[0, 0, 0], [9, 9, 9]]
    assert await done(table.get([])) == []


async def test_rows_without_a_vector_are_embedded_in_one_call(mode: Any) -> None:
    counted = Letters.create()

    class Counted(Record):
        id: str
        text: str = counted.SourceField()
        vector: Vector(3) = counted.VectorField()  # type: ignore[valid-type]

    table = await mode.create_table("counted", Counted)
    rows = [{"id": f"{n}", "text": "a" * n} for n in range(50)]
    await done(table.add([*rows, {"id": "given", "text": "a", "vector": [0, 0, 1]}]))
    assert counted.calls == 1
    assert (await done(table.get("given")))[0].vector == [0, 0, 1]
    with pytest.raises(errors.DuplicateIDError):
        await done(table.add([{"id": "1", "text": "a"}, {"id": "1", "text": "a"}]))
    assert counted.calls == 1


async def test_an_upsert_replaces_the_record_whole(mode: Any) -> None:
    table = await mode.create_table("everything", Everything)
    await done(table.add(Everything(id=1, text="a", price=Decimal(1), tags=["x"], size="L")))
    await done(table.add(Everything(id=1, text="b")))
    assert (await done(table.get(1)))[0].text == "a"
    ids = await done(table.upsert([Everything(id=1, text="b"), {"id": 2, "text": "c"}]))
    assert ids == ["1", "2"]
    again = await done(table.get([1, 2]))
    assert again == [
        Everything(id=1, text="b", vector=[0, 1, 0]), Everything(id=2, text="c", vector=[0, 0, 1]),
    ]  # fmt: skip


async def test_records_are_deleted_by_id_and_by_field(table: Any) -> None:
    assert await done(table.delete(where={"year": {"$lt": 2000}})) == 1
    (row,) = await done(table.search("b").limit(1).select(["_id"]).to_list())
    assert await done(table.delete([row["_id"]])) == 1
    assert [each.text for each in await done(table.search().to_pydantic())] == ["ccc"]
    with pytest.raises(ValueError, match="At least one of ids, where"):
        await done(table.delete())


async def test_vectors_alone_make_a_table_too(mode: Any) -> None:
    table = await mode.create_table("points", Point, space="cosine")
    await done(table.add([Point(id="x", place=[1, 0]), {"id": "y", "place": np.array([0, 2])}]))
    found = await done(table.search([3, 0]).to_list())
    assert found == [
        {"id": "x", "place": [1, 0], "name": None, "_distance": 0.0},
        {"id": "y", "place": [0, 2], "name": None, "_distance": 1.0},
    ]
    with pytest.raises(ValueError, match="Point has no embedding function: search by a vector"):
        table.search("text")
    with pytest.raises(ValueError, match="vector of 2 finite numbers, got 3"):
        table.search([1, 2, 3])
    with pytest.raises(ValueError, match=r"^rows\[0\]\.place: Field required"):
        await done(table.add({"id": "z"}))


async def test_a_collection_remembers_the_function_without_its_key(mode: Any) -> None:
    function = Letters.create(letters="ab", api_key="sk-secret")

    class Kept(Record):
        text: str = function.SourceField()
        vector: Vector(2) = function.VectorField()  # type: ignore[valid-type]

    table = await mode.create_table("kept", Kept)
    await done(table.add({"text": "abb"}))
    collection = await mode.get_collection("kept")
    stored = collection.configuration_json["embedding_function"]
    assert stored["name"] == "typed-letters"
    assert stored["config"]["letters"] == "ab"
    assert (await collection.query(query_texts="b"))["distances"] == [[2.0]]
    with psycopg.connect(mode.conninfo) as plain:
        rows = plain.execute("select configuration::text from pgchroma.collections").fetchall()
    assert "sk-secret" not in str(rows)


async def test_tables_are_made_once_opened_overwritten_and_dropped(mode: Any) -> None:
    await mode.create_table("articles", Article)
    with pytest.raises(errors.UniqueConstraintError):
        await mode.create_table("articles", Article)
    again = await mode.create_table("articles", Article, exist_ok=True)
    await done(again.add(ROWS))
    assert await done((await mode.open_table("articles", Article)).count_rows()) == 3
    emptied = await mode.create_table("articles", Article, mode="overwrite")
    assert await done(emptied.count_rows()) == 0
    assert (emptied.name, repr(emptied)) == ("articles", "Table(name=articles, model=Article)")
    await mode.create_table("new", Article, mode="overwrite")
    assert await mode.table_names() == ["articles", "new"]
    await mode.drop_table("new")
    with pytest.raises(errors.NotFoundError):
        await mode.open_table("new", Article)
    await done((await mode.open_table("articles", Article)).add(ROWS))
    # A refused call has overwritten nothing.
    with pytest.raises((ValueError, errors.InvalidArgumentError), match="space"):
        await mode.create_table("articles", Article, mode="overwrite", space="none")
    assert await done((await mode.open_table("articles", Article)).count_rows()) == 3
    with pytest.raises(ValueError, match="Expected mode to be create or overwrite"):
        await mode.create_table("articles", Article, mode="append")


async def test_a_model_that_does_not_fit_the_collection_is_refused(mode: Any) -> None:
    table = await mode.create_table("articles", Article)
    await done(table.add(ROWS))
    other = Letters.create(letters="abcd")

    class Longer(Record):
        text: str = other.SourceField()
        vector: Vector(4) = other.VectorField()  # type: ignore[valid-type]

    with pytest.raises(ValueError, match=r"have 3 numbers, and Longer\.vector is a Vector\(4\)"):
        await mode.open_table("articles", Longer)

    @register("typed-others")
    class Others(Letters):
        pass

    foreign = Others.create()

    class Foreign(Record):
        text: str = foreign.SourceField()
        vector: Vector(3) = foreign.VectorField()  # type: ignore[valid-type]

    for exist_ok in (True, False):
        with pytest.raises((ValueError, errors.UniqueConstraintError)):
            await mode.create_table("articles", Foreign, exist_ok=exist_ok)
    with pytest.raises(ValueError, match="new: typed-others vs persisted: typed-letters"):
        await mode.open_table("articles", Foreign)

    class Wrong(Record):
        text: str = other.SourceField()
        vector: Vector(3) = other.VectorField()  # type: ignore[valid-type]

    wrong = await mode.create_table("wrong", Wrong)
    with pytest.raises(ValueError, match=r"embeddings of 4 numbers, but .* vector is a Vector\(3"):
        await done(wrong.add({"text": "a"}))


async def test_collections_take_a_model_and_can_be_seen_as_tables(mode: Any) -> None:
    table = await mode.create_collection(
        "made", configuration={"hnsw": {"ef_search": 7}}, metadata={"of": "x"}, model=Article
    )
    await done(table.add(ROWS))
    assert table.collection.metadata == {"of": "x"}
    assert table.collection.configuration_json["hnsw"]["ef_search"] == 7
    same = await mode.get_or_create_collection("made", model=Article)
    assert await done(same.count_rows()) == 3
    assert await done((await mode.get_collection("made", model=Article)).count_rows()) == 3
    collection = (await mode.get_collection("made")).target
    assert (await done(collection.typed(Article).search("c").to_pydantic()))[0].year == 2025
    with pytest.raises(ValueError, match="pass no other"):
        await mode.get_collection("made", letters, model=Article)
    with pytest.raises(ValueError, match="settings of hnsw alone, not"):
        await mode.create_collection("x2x", configuration={"spann": {}}, model=Article)


async def test_records_of_others_are_read_as_far_as_they_fit(table: Any) -> None:
    collection = table.collection
    await done(collection.add(ids=["bare"], documents=["bbb"]))
    row = (await done(table.search("bbb").limit(1).to_list()))[0]
    assert (row["year"], row["score"], row["is_read"]) == (None, 0, None)
    with pytest.raises(ValueError, match="record 0 does not match Article: year: Field required"):
        await done(table.search("bbb").limit(1).to_pydantic())


async def test_a_function_of_lancedbs_kind_is_one_of_chromas(mode: Any) -> None:
    made = await mode.create_collection("plain", embedding_function=Letters.create())
    await made.add(ids=["1"], documents=["abc"])
    for given in ({}, {"embedding_function": Letters.create()}):
        found = await mode.get_collection("plain", **given)
        assert (await found.query(query_texts="abc"))["distances"] == [[0.0]]
    configured = {"embedding_function": Letters.create()}
    assert await mode.create_collection("configured", configuration=configured)
    assert await (await mode.get_collection("configured")).count() == 0
    await made.modify(configuration={"embedding_function": Letters.create(letters="bca")})
    stored = (await mode.get_collection("plain")).configuration_json["embedding_function"]
    assert stored["config"]["letters"] == "bca"


async def test_an_unregistered_function_works_and_is_not_remembered(mode: Any) -> None:
    class Unknown(TextEmbeddingFunction):
        def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
            return [[float(len(text))] for text in texts]

        def ndims(self) -> int:
            return 1

    function = Unknown.create()

    class Lengths(Record):
        text: str = function.SourceField()
        vector: Vector(1) = function.VectorField()  # type: ignore[valid-type]

    with pytest.warns(DeprecationWarning, match="does not implement name"):
        table = await mode.create_table("lengths", Lengths)
        await done(table.add([{"text": "a"}, {"text": "bbb"}]))
        found = await done(table.search("ccc").limit(1).to_list())
    assert found == [{"text": "bbb", "vector": [3.0], "_distance": 0.0}]


@register("typed-pictures")
class Pictures(MultiModalEmbeddingFunction):
    """An image is its mean, a text its length; what a URI points at is its length in hundreds."""

    def ndims(self) -> int:
        return 1

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        return [self._embed(each) for each in self.sanitize_input(texts)]

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        return [[float(len(query))] if isinstance(query, str) else self._embed(query)]

    def _embed(self, given: Any) -> list[float]:
        return [100.0 * len(given)] if isinstance(given, str) else [float(np.mean(given))]


pictures = Pictures.create()


class Photo(Record):
    label: str
    uri: str = pictures.SourceField()
    vector: Vector(1) = pictures.VectorField()  # type: ignore[valid-type]


class Scan(Record):
    label: str
    image: Any = pictures.SourceField(default=None)
    vector: Vector(1) = pictures.VectorField()  # type: ignore[valid-type]


async def test_uris_are_embedded_by_what_they_point_at_and_stored(mode: Any) -> None:
    table = await mode.create_table("photos", Photo)
    await done(table.add([{"label": "one", "uri": "a"}, {"label": "two", "uri": "bb"}]))
    got = await done(table.collection.get(include=["uris", "documents", "embeddings"]))
    assert got["uris"] == ["a", "bb"]
    assert got["documents"] == [None, None]
    assert got["embeddings"].tolist() == [[100], [200]]
    found = await done(table.search(np.full((2, 2), 190.0)).limit(1).to_pydantic())
    assert found == [Photo(label="two", uri="bb", vector=[200.0])]
    texts = await done(table.search("t" * 120).limit(1).select(["label"]).to_list())
    assert texts[0]["label"] == "one"


async def test_images_are_embedded_and_not_stored(mode: Any) -> None:
    table = await mode.create_table("scans", Scan)
    await done(
        table.add([{"label": "dark", "image": np.zeros((2, 2))}, Scan(label="x", vector=[9])])
    )
    found = await done(table.search(np.ones((2, 2))).to_list())
    assert [(row["label"], row["image"], row["_distance"]) for row in found] == [
        ("dark", None, 1.0), ("x", None, 64.0),
    ]  # fmt: skip


async def test_names_of_fields_in_validation_are_theirs(mode: Any) -> None:
    class Aliased(Record):
        text: str = letters.SourceField()
        vector: Vector(3) = letters.VectorField()  # type: ignore[valid-type]
        page: int = Field(alias="Seite")

    table = await mode.create_table("aliased", Aliased)
    await done(table.add({"text": "a", "Seite": 3}))
    assert (await done(table.search().where({"page": 3}).to_pydantic()))[0].page == 3
    with pytest.raises(ValueError, match=r"rows\[0\]\.Seite: Field required"):
        await done(table.add({"text": "a"}))


class Measured(Record):
    id: str
    vector: Vector(1)  # type: ignore[valid-type]
    share: float
    count: int | None = None
    price: Decimal | None = None
    at: datetime | None = None
    shares: list[float] = Field(default_factory=list)
    counts: list[int] = Field(default_factory=list)


async def test_filters_find_what_is_equal_and_frames_are_written_back(mode: Any) -> None:
    table = await mode.create_table("measured", Measured)
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    full = Measured(
        id="a", vector=[1], share=1, count=2**60 + 1, price=Decimal("1.50"),
        at=noon.astimezone(timezone(timedelta(hours=2))), shares=[1, 2.5], counts=[1, 2],
    )  # fmt: skip
    bare = Measured(id="b", vector=[2], share=3.5)
    await done(table.add([full, bare]))
    for where in (
        {"shares": {"$contains": 1}}, {"counts": {"$contains": 1.0}},
        {"share": {"$in": [1, 2.5]}}, {"at": noon}, {"price": Decimal("1.500")},
        {"price": {"$in": [Decimal("1.5"), 7]}}, {"count": 2**60 + 1},
    ):  # fmt: skip
        found = await done(table.search().where(where).select(["id"]).to_list())
        assert found == [{"id": "a"}], where
    frame = await done(table.search().to_pandas())
    await done(table.upsert(frame))
    assert await done(table.get(["a", "b"])) == [full, bare]
    await done(table.delete(["a", "b"]))
    await done(table.add(frame))
    assert await done(table.get(["a", "b"])) == [full, bare]


async def test_a_row_that_would_make_the_table_unreadable_is_not_stored(mode: Any) -> None:
    class Numbered(Record):
        id: int | None = None
        vector: Vector(1)  # type: ignore[valid-type]

    table = await mode.create_table("numbered", Numbered)
    for method in (table.add, table.upsert):
        with pytest.raises(ValueError, match=r"^rows\[1\]\.id: missing; the id is an int"):
            await done(method([{"id": 1, "vector": [1]}, {"vector": [2]}]))
    assert await done(table.search().to_pydantic()) == []


async def test_a_stored_value_of_another_type_is_named_in_every_form(table: Any) -> None:
    await done(table.collection.add(ids=["odd"], documents=["b"], metadatas=[{"year": "soon"}]))
    search = table.search()
    for form in (search.to_list, search.to_pydantic, search.to_pandas, search.to_arrow):
        with pytest.raises(ValueError, match=r"^record 'odd': year: expected int, got 'soon'"):
            await done(form())


async def test_rows_of_a_search_are_written_back_where_names_have_aliases(mode: Any) -> None:
    class Aliased(Record):
        id: str = Field(alias="key")
        vector: Vector(1)  # type: ignore[valid-type]
        year: int = Field(validation_alias=AliasChoices("jahr", "annee"))

    table = await mode.create_table("aliased", Aliased)
    await done(table.add({"key": "a", "vector": [1], "annee": 5}))
    await done(table.upsert(await done(table.search().to_pandas())))
    await done(table.upsert(await done(table.search().to_list())))
    (made,) = await done(table.search().to_pydantic())
    assert (made.id, made.vector, made.year) == ("a", [1.0], 5)
