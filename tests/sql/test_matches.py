"""chroma.matches agrees with the oracle of filters."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as pg

from pgchroma.model.filters import Comparison, Filter, Junction, parse_where
from pgchroma.store.encoding.metadata import encode_metadata
from tests.oracle import matches
from tests.sql.backend import encode_json
from tests.strategies import records, wheres


def _has_column(filter: Filter) -> bool:
    if isinstance(filter, Junction):
        return any(map(_has_column, filter.clauses))
    return isinstance(filter, Comparison) and filter.key.startswith("#")


@pytest.mark.heavy
@given(data=st.data())
def test_metadata_matches_as_in_the_api(
    module_connection: psycopg.Connection[Any], data: st.DataObject
) -> None:
    stored = data.draw(records())
    where: Any = data.draw(wheres(stored))
    tree = parse_where(where)
    assert tree is not None
    call = "select chroma.matches(%s::jsonb, %s::jsonb)"
    for record in stored:
        values = [encode_metadata(record.metadata), encode_json(where)]
        if _has_column(tree):
            with pytest.raises(pg.InvalidParameterValue, match="metadata does not have this key"):
                module_connection.execute(call, values)
        else:
            assert module_connection.execute(call, values).fetchone() == (matches(record, tree),)


def test_metadata_may_be_null(module_connection: psycopg.Connection[Any]) -> None:
    found = module_connection.execute(
        """select chroma.matches(null, '{"k": 1}'), chroma.matches(null, '{"k": {"$ne": 1}}'),
        chroma.matches('{"k": 1}', null)"""
    )
    assert found.fetchone() == (False, True, True)
