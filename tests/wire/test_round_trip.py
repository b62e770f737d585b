"""Operations and results that are sent as requests and responses and read again."""

from __future__ import annotations

import dataclasses
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma import errors
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.inspection import IndexingStatus
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.operations import (
    CollectionRef,
    DeleteCollection,
    GetIndexingStatus,
    MeasureRecall,
    ModifyCollection,
)
from pgchroma.wire.route import PREFIX, Route, encode_json, read_path
from pgchroma.wire.routes import ROUTES, route_of
from tests.operations import OPERATIONS, RESULTS


def _plain(value: Any) -> Any:
    """Convert a value to one that compares by ``==``, including types and signs of zero."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return type(value).__name__, fields
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return "vector", _plain(value.tolist())
    if isinstance(value, np.ndarray):
        # A record without an embedding is a row of NaN, of whatever length the others have.
        absent = np.asarray(np.isnan(value).all(axis=1))
        rows = zip(value.tolist(), absent, strict=True)
        return "matrix", [None if gone else [_plain(one) for one in row] for row, gone in rows]
    if isinstance(value, frozenset):
        return "set", sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return (type(value).__name__, repr(value))


def _sent(route: Route[Any, Any], operation: Any) -> Any:
    """Return the request that the server decodes from the one that an httpx client sends."""
    request = route.encode_request(operation)
    url = str(httpx.URL(f"http://host{route.url(request)}"))
    split = urlsplit(url)
    pattern = re.escape(PREFIX + route.path).replace(r"\{", "{").replace(r"\}", "}")
    values = re.fullmatch(re.sub(r"\{\w+\}", "([^/]*)", pattern), split.path)
    assert values, split.path
    body = None if request.body is None else encode_json(request.body)
    path = read_path(route.path, values.groups())
    return route.parse(path, dict(parse_qsl(split.query, keep_blank_values=True)), body)


def _id(route: Route[Any, Any]) -> str:
    return route.name


def test_every_route_is_tried() -> None:
    assert set(OPERATIONS) == {route.operation for route in ROUTES}


@pytest.mark.heavy
@pytest.mark.parametrize("route", ROUTES, ids=_id)
@given(data=st.data())
def test_an_operation_arrives_as_it_was(route: Route[Any, Any], data: st.DataObject) -> None:
    operation = data.draw(OPERATIONS[route.operation])
    arrived = route.decode_request(_sent(route, operation))
    assert _plain(arrived) == _plain(operation)


@pytest.mark.heavy
@pytest.mark.parametrize("route", ROUTES, ids=_id)
@given(data=st.data())
def test_a_result_arrives_as_it_was(route: Route[Any, Any], data: st.DataObject) -> None:
    operation = data.draw(OPERATIONS[route.operation])
    make: Any = RESULTS.get(route.operation, lambda operation: st.none())
    result = data.draw(make(operation))
    answer = encode_json(route.encode_response(_sent(route, operation), result))
    assert _plain(route.decode_response(operation, orjson.loads(answer))) == _plain(result)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_change_the_path_is_not_sent(name: str) -> None:
    # Without its name, the path of this one is that of its database.
    operation = DeleteCollection(DatabaseRef("default_tenant", "default_database"), name)
    route = route_of(operation)
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        route.url(route.encode_request(operation))


def test_metadata_without_anything_in_it_is_sent_as_such() -> None:
    operation = ModifyCollection(CollectionRef(DatabaseRef("one", "two"), UUID(int=7)), metadata={})
    assert route_of(operation).decode_request(_sent(route_of(operation), operation)).metadata == {}
    assert parse_collection_metadata({"a": None}, removals=True) == {}


def test_a_setting_that_json_cannot_say_is_refused_before_it_is_sent() -> None:
    nan = {"hnsw": {"resize_factor": float("nan")}}
    operation = ModifyCollection(
        CollectionRef(DatabaseRef("one", "two"), UUID(int=7)), None, None, nan
    )
    with pytest.raises(errors.InvalidArgumentError, match="resize_factor"):
        route_of(operation).encode_request(operation)


def test_the_status_has_an_error_only_where_there_is_one() -> None:
    operation = GetIndexingStatus(CollectionRef(DatabaseRef("one", "two"), UUID(int=7)))
    route = route_of(operation)
    fine = IndexingStatus(3, 1, 4, 0.75)
    body = {
        "op_indexing_progress": 0.75,
        "num_unindexed_ops": 1,
        "num_indexed_ops": 3,
        "total_ops": 4,
    }
    assert route.encode_response(route.encode_request(operation), fine) == body
    failed = dataclasses.replace(fine, error="disk full")
    assert route.encode_response(route.encode_request(operation), failed) == {
        **body,
        "error": "disk full",
    }


@pytest.mark.parametrize(
    "body", [{"sample": 0}, {"sample": 1_001}, {"n_results": 0}, {"sample": 1.5}, {"sample": None}]
)
def test_a_measurement_out_of_bounds_is_refused(body: Any) -> None:
    operation = MeasureRecall(CollectionRef(DatabaseRef("one", "two"), UUID(int=7)))
    route = route_of(operation)
    with pytest.raises(errors.MalformedRequestError, match=next(iter(body))):
        route.parse(route.encode_request(operation).path, {}, encode_json(body))
