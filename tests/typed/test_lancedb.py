"""Tables as LanceDB's users write them, in every mode."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma import errors
from pgchroma.records import Record, Vector
from tests.typed.letters import done
from tests.typed.test_tables import ROWS, Article


class Spot(Record):
    id: str
    vector: Vector(2)  # type: ignore[valid-type]
    name: str


async def test_a_table_is_made_by_its_schema_and_opened_by_its_name(mode: Any) -> None:
    made = await mode.create_table("articles", schema=Article)
    await done(made.add(ROWS))
    opened = await mode.open_table("articles")
    rows = await done(opened.search("a").limit(1).to_list())
    assert (rows[0]["text"], rows[0]["year"], rows[0]["is_read"]) == ("aaa", 1998, None)
    frame = await done(opened.search("b").where({"year": {"$gte": 2000}}).to_pandas())
    assert list(frame["year"]) == [2024, 2025]
    assert set(frame.columns) >= {"id", "text", "vector", "year", "score", "is_read", "_distance"}
    await done(opened.add([{"text": "cab", "year": 1}]))
    assert await done(made.count_rows()) == 4


async def test_a_table_without_a_function_is_searched_by_vectors(mode: Any) -> None:
    made = await mode.create_table("spots", schema=Spot)
    with pytest.raises(ValueError, match=r"has no records yet.*pass the model"):
        await mode.open_table("spots")
    await done(made.add([{"id": "a", "vector": [1, 0], "name": "x"}]))
    opened = await mode.open_table("spots")
    (row,) = await done(opened.search([1.0, 0.0]).to_list())
    assert (row["id"], row["name"], row["vector"]) == ("a", "x", [1.0, 0.0])


async def test_a_table_needs_one_model(mode: Any) -> None:
    for arguments in ({}, {"schema": dict}, {"model": Spot, "schema": Spot}, {"model": [{"a": 1}]}):
        with pytest.raises(TypeError, match="create_table needs a pydantic model"):
            await mode.create_table("none", **arguments)
    with pytest.raises(errors.NotFoundError):
        await mode.open_table("none")
