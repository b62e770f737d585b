"""Writes in SQL: in the caller's transaction, checked, and seen by the API."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

import pgchroma
from tests.planner.segments import create, quiet
from tests.sql.conftest import Run

ADD = "select chroma.add('papers', array['a', 'b'], array['[1,0]', '[0,1]']::vector[])"


def test_a_write_is_part_of_the_callers_transaction(url: str, run: Run) -> None:
    with quiet(url) as client:
        papers = create(client)
        run("begin")
        run(ADD)
        assert run("select chroma.count('papers')") == [(2,)]
        assert papers.count() == 0
        run("rollback")
        assert papers.count() == 0
        assert papers.get()["ids"] == []
        run(ADD)
        assert papers.get()["ids"] == ["a", "b"]
        found = papers.query(query_embeddings=[[1.0, 0.0]], n_results=1)
        assert found["ids"] == [["a"]]


def test_writes_return_how_many_records_they_wrote(url: str, run: Run) -> None:
    with quiet(url) as client:
        create(client)
    assert run(ADD) == [(2,)]
    assert run(ADD) == [(0,)]
    assert run("select chroma.update('papers', array['a', 'z'], documents => array['x', 'y'])") == [
        (1,)
    ]
    assert run("select chroma.upsert('papers', array['a', 'z'], documents => array['x', 'y'])") == [
        (2,)
    ]
    assert run(
        """select chroma.delete('papers', "where" => '{"k": {"$ne": 1}}', "limit" => 2)"""
    ) == [(2,)]
    assert run("select id from chroma.get('papers')") == [("z",)]


def test_numbers_are_stored_as_the_api_stores_them(url: str, run: Run) -> None:
    with quiet(url) as client:
        papers = create(client)
        run(
            "select chroma.add('papers', array['a'], metadatas => array[%s::jsonb])",
            '{"i": 1, "f": 1.0, "x": 0.12345678901234567890, "w": 18446744073709551616, '
            '"e": 1.5e22, "l": [1, 2.5], "n": [], "t": "x"}',
        )
        (metadata,) = papers.get()["metadatas"] or [{}]
        assert metadata == {
            "i": 1, "f": 1.0, "x": 0.12345678901234568, "w": float(2**64), "e": 1.5e22,
            "l": [1.0, 2.5], "t": "x",
        }  # fmt: skip
        assert type(metadata["i"]) is int
        assert type(metadata["f"]) is float
        assert papers.get(where={"x": 0.12345678901234568})["ids"] == ["a"]


METADATA: list[tuple[str, str]] = [
    ('{"": 1}', r"metadatas\[0\]: .* empty"),
    ('{"#k": 1}', "cannot start with"),
    ('{"chroma:k": 1}', "reserved"),
    ('{"k": null}', r"\.k: .* null"),
    ('{"k": {"x": 1}}', r"metadatas\[0\]\.k: expected"),
    ('{"k": [1, "x"]}', "values of one type"),
    ('{"k": [[1]]}', "expected a list of"),
    ('{"k": 1e400}', "out of range"),
    ("[1]", "expected an object"),
    ('{"k": {"indices": [2, 1], "values": [1, 1]}}', "ascending"),
    ('{"k": {"indices": [1.5], "values": [1]}}', "must be integers"),
    ('{"k": {"indices": [-1], "values": [1]}}', "from 0 to"),
    ('{"k": {"indices": [1], "values": [1, 2]}}', "same length"),
    ('{"k": {"indices": [1], "values": ["x"]}}', "must be numbers"),
    ('{"k": {"indices": [1], "values": [1e39]}}', "too large"),
    ('{"k": {"indices": [1], "values": [1], "tokens": []}}', "labels"),
    ('{"k": {"indices": 1, "values": [1]}}', "to be a list"),
]

ARGUMENTS: list[tuple[str, str]] = [
    ("add('papers', null)", "ids: expected an array"),
    ("add('papers', array['a', null])", "at least one character"),
    ("add('papers', array['a', ''])", "at least one character"),
    ("add('papers', array[repeat('a', 2601)])", "longer than the 2600 bytes"),
    ("add('papers', array['a'], documents => array['x', 'y'])", "Inconsistent number of IDs"),
    ("add('papers', array['a', 'b'], array['[1,0]', '[1]']::vector[])", "Inconsistent dimensions"),
    ("add('papers', array['a'], array['[1,0,0]']::vector[])", "dimension of 2, got 3"),
    ("upsert('papers', array['a', 'a'])", "duplicates of: a"),
    ("update('papers', array['a', 'a'])", "duplicates of: a"),
    ("delete('papers')", "give ids, where or where_document"),
    ("get('papers', include => array['embedding'])", "expected documents, uris"),
    ("query('papers', '[1,2,3]')", "dimension of 2, got 3"),
    ("query('papers', null)", "expected a vector"),
    ("query('papers', '[1,2]', -1)", "n_results"),
    ("query('papers', '[1,2]', ids => array['never'])", "no record 'never'"),
    (
        """get('papers', "where" => '{"k": {"$foo": 1}}')""",
        "Invalid where clause: .*unknown operator",
    ),
    ("""get('papers', "where" => '[]')""", "expected an object"),
    ("""get('papers', "where" => '{}')""", "expected exactly one entry"),
    ("""get('papers', "where" => '{"k": {"$in": []}}')""", "at least one value"),
    ("""get('papers', "where" => '{"k": {"$in": [1, "x"]}}')""", r"\$in\[1\]: expected int"),
    ("""get('papers', "where" => '{"k": {"$gt": "x"}}')""", "expected a number"),
    ("""get('papers', "where" => '{"k": null}')""", "expected a str, a bool or a number"),
    ("""get('papers', "where" => '{"$and": 1}')""", "expected a list of filters"),
    ("""get('papers', where_document => '{"$contains": 1}')""", "expected a str"),
    (
        """get('papers', where_document => '{"$regex": "("}')""",
        "error: unclosed group",
    ),
    ("""get('papers', where_document => '{"$matches": "x"}')""", "no full-text index"),
]


@pytest.mark.parametrize(("call", "message"), ARGUMENTS, ids=[call[:60] for call, _ in ARGUMENTS])
def test_bad_arguments_are_refused_by_name(
    module_connection: psycopg.Connection[Any], module_url: str, call: str, message: str
) -> None:
    with quiet(module_url) as client:
        papers = client.get_or_create_collection("papers", embedding_function=None)
        papers.upsert(ids=["kept"], embeddings=[[1.0, 0.0]])
    with pytest.raises(pg.InvalidParameterValue, match=message):
        module_connection.execute(f"select * from chroma.{call}".encode())
    assert module_connection.execute("select chroma.count('papers')").fetchone() == (1,)


@pytest.mark.parametrize(("metadata", "message"), METADATA, ids=[text for text, _ in METADATA])
def test_bad_metadata_is_refused_by_name(
    module_connection: psycopg.Connection[Any], metadata: str, message: str
) -> None:
    for function in ("add", "upsert", "update"):
        call = f"select chroma.{function}('papers', array['x'], metadatas => array[%s::jsonb])"
        if function != "add" and "null" in metadata:
            continue
        with pytest.raises(pg.InvalidParameterValue, match=message):
            module_connection.execute(call.encode(), [metadata])
    assert module_connection.execute("select chroma.count('papers')").fetchone() == (1,)


def test_large_filters_are_refused(module_connection: psycopg.Connection[Any]) -> None:
    nested = '{"$and": [' * 101 + '{"k": 1}' + "]}" * 101
    wide = f'{{"$or": [{", ".join(["{}"] * 1001)}]}}'.replace("{}", '{"k": 1}')
    for filter, message in ((nested, "nest deeper"), (wide, "more than 1000 conditions")):
        with pytest.raises(pg.InvalidParameterValue, match=message):
            module_connection.execute("select chroma.get('papers', \"where\" => %s)", [filter])


def test_an_unknown_collection_is_named(module_connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(pg.UndefinedObject, match=r"Collection \[nothing\] does not exist"):
        module_connection.execute("select chroma.count('nothing')")


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_two_first_writers_agree_on_the_dimension(url: str, run: Run, space: str) -> None:
    with quiet(url) as client, psycopg.connect(url, autocommit=True) as second:
        papers = create(client, space=space)
        run("begin")
        run(ADD)
        waiting = threading.Thread(
            target=lambda: second.execute(ADD.replace("'b'", "'c'").encode())
        )
        waiting.start()
        run("commit")
        waiting.join()
        assert papers.get()["ids"] == ["a", "b", "c"]
        view = run(
            'select id, embedding::text from default_tenant__default_database."papers" order by id'
        )
        assert view == [("a", "[1,0]"), ("b", "[0,1]"), ("c", "[0,1]")]


def test_writes_while_a_collection_is_re_embedded_reach_both(url: str, run: Run) -> None:
    with quiet(url) as client:
        papers = create(client)
        papers.add(ids=["a"], embeddings=[[1.0, 0.0]], documents=["x"])
        run("select chroma.update('papers', array['a'], array['[0,1]']::vector[])")
        run("select chroma.delete('papers', ids => array['a'])")
        assert papers.count() == 0


def test_a_writer_waits_for_another_and_both_are_applied(url: str, run: Run) -> None:
    with pgchroma.PostgresClient(url) as client, psycopg.connect(url, autocommit=True) as second:
        papers = create(client)
        papers.add(
            ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]], metadatas=[{"k": 1}, {"k": 1}]
        )
        run("begin")
        run("""select chroma.update('papers', array['a'], metadatas => array['{"x": 1}'::jsonb])""")
        change = (
            """select chroma.update('papers', array['b', 'a'], array['[3,3]', '[4,4]']::vector[])"""
        )
        waiting = threading.Thread(target=lambda: second.execute(change.encode()))
        waiting.start()
        run("""select chroma.update('papers', array['b'], metadatas => array['{"x": 2}'::jsonb])""")
        run("commit")
        waiting.join()
        got = papers.get(include=["metadatas", "embeddings"])
        assert got["metadatas"] == [{"k": 1, "x": 1}, {"k": 1, "x": 2}]
        assert got["embeddings"].tolist() == [[4.0, 4.0], [3.0, 3.0]]  # type: ignore[union-attr]
