"""SQL agrees with the oracle on any filter over any records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgchroma
from pgchroma.model.filters import parse_where, parse_where_document
from tests.oracle import matches, replace_records
from tests.sql.backend import SqlFunctionsBackend
from tests.strategies import records, where_documents, wheres


@pytest.fixture(scope="module", params=["direct", "sql"])
def collection(module_url: str, request: pytest.FixtureRequest) -> Iterator[pgchroma.Collection]:
    with pgchroma.PostgresClient(module_url) as client:
        if request.param == "sql":
            client._backend = SqlFunctionsBackend(client._backend, module_url)
        yield client.create_collection(f"oracle-{request.param}")


@pytest.mark.heavy
@given(data=st.data())
def test_where_agrees_with_the_oracle(collection: pgchroma.Collection, data: st.DataObject) -> None:
    stored = data.draw(records())
    replace_records(collection, stored)
    for _ in range(5):
        where = data.draw(wheres(stored))
        tree = parse_where(where)
        assert tree is not None
        expected = [record.id for record in stored if matches(record, tree)]
        assert collection.get(where=where, include=[])["ids"] == expected
        found = collection.query(query_embeddings=[0.0], where=where, include=[])
        assert found["ids"] == [expected]


@pytest.mark.heavy
@given(data=st.data())
def test_where_document_agrees_with_the_oracle(
    collection: pgchroma.Collection, data: st.DataObject
) -> None:
    stored = data.draw(records())
    replace_records(collection, stored)
    for _ in range(5):
        where: Any = data.draw(where_documents(stored))
        tree = parse_where_document(where)
        assert tree is not None
        expected = [record.id for record in stored if matches(record, tree)]
        assert collection.get(where_document=where, include=[])["ids"] == expected


@given(data=st.data())
def test_records_come_back_as_they_went_in(
    collection: pgchroma.Collection, data: st.DataObject
) -> None:
    stored = data.draw(records())
    replace_records(collection, stored)
    got = collection.get()
    assert got["ids"] == [record.id for record in stored]
    assert got["documents"] == [record.document for record in stored]
    for metadata, record in zip(got["metadatas"] or [], stored, strict=True):
        assert metadata == (record.metadata or None)
        for key, value in (metadata or {}).items():
            assert type(value) is type(record.metadata[key])
