"""Typed columns of a collection's view, in every mode; read with plain SQL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgchroma import (
    BoolInvertedIndexConfig,
    FloatInvertedIndexConfig,
    IntInvertedIndexConfig,
    Schema,
    StringInvertedIndexConfig,
)
from pgchroma.records import Record, Vector
from pgchroma.store.layout.names import NAME_BYTES
from tests.typed.letters import Letters, done

letters = Letters.create()

OWN = ["id", "document", "uri", "metadata", "embedding", "created_at", "updated_at"]

KINDS = {
    "count": IntInvertedIndexConfig,
    "share": FloatInvertedIndexConfig,
    "is_on": BoolInvertedIndexConfig,
    "word": StringInvertedIndexConfig,
}


def schema_of(**kinds: Any) -> Schema:
    schema = Schema()
    for key, kind in kinds.items():
        schema.create_index(kind(), key=key)
    return schema


class Reader:
    """Plain SQL on the database that a mode's data ends up in."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def columns(self, view: str) -> dict[str, str]:
        rows = self._connection.execute(
            "select attname, format_type(atttypid, null) from pg_attribute "
            "where attrelid = %s::regclass and attnum > 0 order by attnum",
            [self._name(view).as_string(None)],
        ).fetchall()
        return dict(rows)

    def read(self, view: str, *names: str) -> list[Any]:
        query = sql.SQL("select {} from {} order by id").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), self._name(view)
        )
        return self._connection.execute(query).fetchall()

    def _name(self, view: str) -> sql.Identifier:
        return sql.Identifier("default_tenant__default_database", view)


@pytest.fixture
def plain(mode: Any) -> Any:
    with psycopg.connect(mode.conninfo, autocommit=True) as connection:
        yield Reader(connection)


async def test_a_models_fields_are_columns_of_their_types(mode: Any, plain: Reader) -> None:
    class Article(Record):
        id: str
        text: str = letters.SourceField()
        vector: Vector(3) = letters.VectorField()  # type: ignore[valid-type]
        year: int
        score: float
        is_read: bool | None = None
        author: str | None = None
        tags: list[str] = []  # noqa: RUF012

    table = await mode.create_table("articles", Article)
    expected = {"author": "text", "is_read": "boolean", "score": "double precision",
                "year": "bigint"}  # fmt: skip
    before = plain.columns("articles")
    assert list(before) == [*OWN, *expected]
    assert {name: before[name] for name in expected} == expected
    rows = [
        {"id": "1", "text": "a", "year": 2**62, "score": 2, "is_read": False, "author": "Woolf"},
        {"id": "2", "text": "b", "year": -1, "score": 1e300, "tags": ["x"]},
    ]
    await done(table.add(rows))
    assert plain.columns("articles") == before
    assert plain.read("articles", *expected) == [
        ("Woolf", False, 2.0, 2**62), (None, None, 1e300, -1),
    ]  # fmt: skip
    assert plain.read("articles", "document", "embedding") == [("a", "[1,0,0]"), ("b", "[0,1,0]")]


async def test_a_value_of_another_type_is_null(mode: Any, plain: Reader) -> None:
    collection = await mode.create_collection("mixed", schema_of(**KINDS))
    values = [1, 1.0, 2.5, 1e22, True, "1", ["1"], -(2**63)]
    await collection.add(
        ids=[str(n) for n in range(len(values) + 1)],
        embeddings=[[1.0]] * (len(values) + 1),
        metadatas=[*({key: value for key in KINDS} for value in values), None],
    )
    count, share, is_on, word = zip(*plain.read("mixed", *KINDS), strict=True)
    assert count == (1, None, None, None, None, None, None, -(2**63), None)
    assert share == (1.0, 1.0, 2.5, 1e22, None, None, None, -(2.0**63), None)
    assert is_on == (None, None, None, None, True, None, None, None, None)
    assert word == (None, None, None, None, None, "1", None, None, None)


async def test_what_sql_wrote_itself_is_null_too_where_it_does_not_fit(
    mode: Any, plain: Reader
) -> None:
    collection = await mode.create_collection("mixed", schema_of(**KINDS))
    await collection.add(ids="1", documents="a", embeddings=[1.0])
    for written in ('{"count": 1e30}', '{"count": null}', '{"count": {"a": 1}}', "[]", '"count"'):
        plain._connection.execute(
            sql.SQL("update {} set metadata = {}").format(
                sql.Identifier("default_tenant__default_database", f"records_{collection.id.hex}"),
                sql.Literal(written),
            )
        )
        assert plain.read("mixed", "count") == [(None,)]


async def test_columns_stay_when_the_collection_is_renamed(mode: Any, plain: Reader) -> None:
    collection = await mode.create_collection("old", schema_of(**KINDS))
    await collection.modify(name="new")
    await collection.add(ids="1", embeddings=[1.0], metadatas={"count": 3})
    assert list(plain.columns("new")) == [*OWN, *sorted(KINDS)]
    assert plain.read("new", "count", "embedding") == [(3, "[1]")]
    await collection.modify(name="newer")
    assert plain.read("newer", "count") == [(3,)]


async def test_keys_that_cannot_be_columns_are_left_out(mode: Any, plain: Reader) -> None:
    odd = ["100%", "%(x)s", "%", 'a "b"', "it's", "{key}", "é" * 31, "ID", "ctid", "x y"]
    schema = Schema()
    for key in (*odd, "id", "metadata", "embedding", "x" * (NAME_BYTES + 1), "é" * 32):
        schema.create_index(IntInvertedIndexConfig(), key=key)
    schema.create_index(IntInvertedIndexConfig(), key="both")
    schema.create_index(FloatInvertedIndexConfig(), key="both")
    schema.create_index(IntInvertedIndexConfig(), key="one")
    schema.delete_index(StringInvertedIndexConfig(), key="one")
    schema.delete_index(IntInvertedIndexConfig(), key="off")
    collection = await mode.create_collection("odd", schema)
    metadata = {key: number for number, key in enumerate(odd)}
    await collection.add(ids="1", embeddings=[1.0], metadatas={**metadata, "one": 1, "id": 7})
    assert list(plain.columns("odd")) == [*OWN, *sorted([*odd, "one"])]
    assert plain.read("odd", *odd, "id") == [(*range(len(odd)), "1")]


async def test_a_schema_of_very_many_keys_can_be_had(mode: Any, plain: Reader) -> None:
    schema = Schema()
    for number in range(1_700):
        schema.create_index(IntInvertedIndexConfig(), key=f"k{number:04}")
    collection = await mode.create_collection("wide", schema)
    await collection.add(ids="1", embeddings=[1.0], metadatas={"k0000": 5})
    assert len(plain.columns("wide")) == len(OWN) + 1_000
    assert plain.read("wide", "k0000") == [(5,)]


async def test_without_a_schema_there_are_no_such_columns(mode: Any, plain: Reader) -> None:
    await mode.create_collection("bare")
    assert list(plain.columns("bare")) == OWN
