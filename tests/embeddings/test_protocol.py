from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import stop_after_attempt

from pgchroma.embeddings import EmbeddingFunction, normalize_embeddings, validate_embeddings
from pgchroma.embeddings.protocol import Documents, Embeddings

NO_EMBEDDINGS = (
    "Expected embeddings to be a list of floats or ints, a list of lists, a numpy array, "
    "or a list of numpy arrays, got "
)


class Returning(EmbeddingFunction[Documents]):
    """Returns the value it was created with."""

    def __init__(self, result: Any) -> None:
        self.result: Embeddings = result

    def __call__(self, input: Documents) -> Embeddings:
        return self.result


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param([1, 2], [[1, 2]], id="one vector"),
        pytest.param([0.5, 2], [[0.5, 2]], id="one vector of floats and ints"),
        pytest.param([[1, 2], [3, 4]], [[1, 2], [3, 4]], id="a list of lists"),
        pytest.param([[1, 2], [3]], [[1, 2], [3]], id="unequal lengths are told elsewhere"),
        pytest.param(np.array([1.0, 2.0]), [[1, 2]], id="one array"),
        pytest.param(np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], id="a matrix"),
        pytest.param([np.array([1]), np.array([2])], [[1], [2]], id="a list of arrays"),
        pytest.param(np.array([1, 2], np.float16), [[1, 2]], id="halves"),
        pytest.param([np.array([1]), np.array([2.5])], [[1], [2.5]], id="mixed types"),
    ],
)
def test_every_form_becomes_a_list_of_float32_arrays(target: Any, expected: Any) -> None:
    result = normalize_embeddings(target)
    assert isinstance(result, list)
    assert [row.dtype for row in result] == [np.float32] * len(expected)
    assert [row.tolist() for row in result] == expected
    assert validate_embeddings(result) is result


@pytest.mark.heavy
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), min_size=1))
def test_a_list_of_lists_keeps_its_numbers(rows: list[list[float]]) -> None:
    assert [row.tolist() for row in normalize_embeddings(rows)] == rows


def test_tuples_are_lists() -> None:
    for target in ((1.0, 2.0), (np.array([1.0, 2.0]),), [(1, 2)], ([1.0, 2.0],)):
        assert [row.tolist() for row in normalize_embeddings(target)] == [[1.0, 2.0]]


def test_a_matrix_is_not_copied_row_by_row() -> None:
    matrix = np.zeros((1000, 8), dtype=np.float32)
    assert all(row.base is matrix for row in normalize_embeddings(matrix))
    converted = normalize_embeddings(matrix.astype(np.float64))
    assert len({id(row.base) for row in converted}) == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([], "Expected Embeddings to be non-empty list or numpy array, got []"),
        (np.array([]), "Expected Embeddings to be non-empty list or numpy array, got []"),
        (["x"], NO_EMBEDDINGS + "['x']"),
        ([True, False], NO_EMBEDDINGS + "[True, False]"),
        ([[True]], NO_EMBEDDINGS + "[[True]]"),
        ([["x"]], NO_EMBEDDINGS + "[['x']]"),
        ([[]], NO_EMBEDDINGS + "[[]]"),
        ([None], NO_EMBEDDINGS + "[None]"),
        ("text", NO_EMBEDDINGS + "text"),
        ({"a": 1}, NO_EMBEDDINGS + "{'a': 1}"),
        (5, NO_EMBEDDINGS + "5"),
        (np.array(1.0), NO_EMBEDDINGS + "1.0"),
        (None, NO_EMBEDDINGS + "None"),
        (np.zeros((1, 1, 1)), NO_EMBEDDINGS + "[[[0.]]]"),
    ],
)
def test_what_is_no_embedding_is_refused(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        normalize_embeddings(target)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ("text", "Expected embeddings to be a list, got str"),
        ([], "Expected embeddings to be a list with at least one item, got 0 embeddings"),
        ([[1.0]], "Expected each embedding in the embeddings to be a numpy array, got ['list']"),
        ([np.array(1.0)], "Expected a 1-dimensional array, got a 0-dimensional array 1.0"),
        (
            [np.array([[1.0]])],
            "Expected a 1-dimensional array, got a 2-dimensional array [[1.]]",
        ),
        (
            [np.array([1.0]), np.array([])],
            "Expected each embedding in the embeddings to be a 1-dimensional numpy array with at "
            "least 1 int/float value. Got a 1-dimensional numpy array with no values at pos 1",
        ),
        (
            [np.array([True])],
            "Expected each value in the embedding to be a int or float, got an embedding with "
            "bool - [ True]",
        ),
        (
            [np.array(["x"])],
            "Expected each value in the embedding to be a int or float, got an embedding with "
            "<U1 - ['x']",
        ),
    ],
)
def test_validation_says_what_is_wrong(embeddings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        validate_embeddings(embeddings)


@pytest.mark.parametrize("result", [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])])
def test_a_function_may_return_any_form(result: Any) -> None:
    embeddings = Returning(result)(["a", "b"])
    assert [row.dtype for row in embeddings] == [np.float32, np.float32]
    assert [row.tolist() for row in embeddings] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        [[]],
        [True],
        [np.array([True])],
        np.array(["x"]),
        np.zeros((2, 2, 2)),
        [[1], 2],
    ],
)
def test_a_function_may_not_return_anything_else(result: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Returning(result)(["a"])


def test_the_input_can_be_given_by_name_whatever_the_subclass_calls_it() -> None:
    class Renamed(Returning):
        def __call__(self, texts: Documents) -> Embeddings:
            return self.result

    assert Renamed([1.0])(input=["a"])[0].tolist() == [1.0]  # type: ignore[call-arg]


def test_an_inherited_call_is_checked_once() -> None:
    class Child(Returning):
        pass

    class Mixin:
        def __call__(self, input: Documents) -> Any:
            return [[1, 2]]

    class Mixed(Mixin, Returning):
        pass

    assert Child.__call__ is Returning.__call__
    assert Mixed(None)(["a"])[0].dtype == np.float32


def test_a_class_without_call_cannot_be_made() -> None:
    class Empty(EmbeddingFunction[Documents]):
        pass

    with pytest.raises(TypeError, match="__call__"):
        Empty()  # type: ignore[abstract]


def test_a_query_is_embedded_like_a_document_by_default() -> None:
    assert Returning([1.0]).embed_query(["a"])[0].tolist() == [1.0]


def test_retries_end_when_the_function_succeeds() -> None:
    class Flaky(EmbeddingFunction[Documents]):
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, input: Documents) -> Embeddings:
            self.calls += 1
            if self.calls < 3:
                raise ConnectionError
            return [np.ones(2, dtype=np.float32)]

    flaky = Flaky()
    assert flaky.embed_with_retries(["a"])[0].tolist() == [1, 1]
    assert flaky.calls == 3
    with pytest.raises(ConnectionError):
        Flaky().embed_with_retries(["a"], stop=stop_after_attempt(2), reraise=True)


def test_spaces_have_defaults() -> None:
    function = Returning([1.0])
    assert function.default_space() == "l2"
    assert function.supported_spaces() == ["cosine", "l2", "ip"]
    assert function.validate_config_update({}, {}) is None  # type: ignore[func-returns-value]
    assert function.validate_config({}) is None


def test_what_is_missing_for_persistence_is_warned_of() -> None:
    class Bare(EmbeddingFunction[Documents]):
        def __call__(self, input: Documents) -> Embeddings:
            return [np.ones(2, dtype=np.float32)]

    with pytest.warns(DeprecationWarning, match="class Bare does not implement __init__"):
        bare = Bare()
    with pytest.warns(DeprecationWarning, match=r"does not implement name\(\)"):
        assert bare.is_legacy()
    with pytest.warns(DeprecationWarning, match=r"class Bare does not implement get_config\(\)"):
        assert bare.get_config() is NotImplemented
    with pytest.warns(DeprecationWarning, match=r"does not implement build_from_config\(\)"):
        assert bare.build_from_config({}) is NotImplemented


def test_anything_with_its_methods_counts_as_an_embedding_function() -> None:
    assert isinstance(Returning([1.0]), EmbeddingFunction)
    assert not isinstance(len, EmbeddingFunction)
