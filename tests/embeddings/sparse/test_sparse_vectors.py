"""Sparse vectors, the protocol of the functions that compute them, and their registry."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings.sparse import (
    ChromaBm25EmbeddingFunction,
    SparseEmbeddingFunction,
    SparseVector,
    config_to_sparse_embedding_function,
    normalize_sparse_vector,
    register_sparse_embedding_function,
    sparse_embedding_function_to_config,
    sparse_known_embedding_functions,
)


def test_the_form_on_the_wire_calls_labels_tokens() -> None:
    vector = SparseVector([1, 5], [0.5, 2], ["a", "b"])
    written = vector.to_dict()
    assert written == {
        "#type": "sparse_vector", "indices": [1, 5], "values": [0.5, 2], "tokens": ["a", "b"],
    }  # fmt: skip
    assert SparseVector.from_dict(json.loads(json.dumps(written))) == vector
    plain = SparseVector([], [])
    assert plain.to_dict() == {"#type": "sparse_vector", "indices": [], "values": []}
    assert SparseVector.from_dict(plain.to_dict()) == plain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (((1,), [1.0]), "indices to be a list, got tuple"),
        (([1], (1.0,)), "values to be a list, got tuple"),
        (([1], [1.0], "a"), "labels to be a list, got str"),
        (([1, 2], [1.0]), "same length, got 2 indices, 1 values"),
        (([1], [1.0], []), "same length, got 1 indices, 1 values, 0 labels"),
        (([1.0], [1.0]), "indices must be integers, got float at position 0"),
        (([True], [1.0]), "indices must be integers, got bool at position 0"),
        (([np.int64(1)], [1.0]), "indices must be integers, got int64"),
        (([-1], [1.0]), "non-negative, got -1 at position 0"),
        (([2**32], [1.0]), "at most 4294967295, got 4294967296 at position 0"),
        (([1, 10**400], [1.0, 1.0]), "at most 4294967295, got 1000.* at position 1"),
        (([1], [10**400]), "values must be finite, got 1000.* at position 0"),
        (([1], ["a"]), "values must be numbers, got str at position 0"),
        (([1], [None]), "values must be numbers, got NoneType"),
        (([1], [float("nan")]), "values must be finite"),
        (([1], [float("inf")]), "values must be finite"),
        (([2, 1], [1.0, 1.0]), r"ascending order, found indices\[1\]=1 <= indices\[0\]=2"),
        (([1, 1], [1.0, 1.0]), r"ascending order, found indices\[1\]=1"),
        (([1], [1.0], [1]), "labels must be strings, got int at position 0"),
    ],
)
def test_what_is_no_sparse_vector_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseVector(*settings)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "Expected #type='sparse_vector', got None"),
        ({"#type": "other"}, "got 'other'"),
        ({"#type": "sparse_vector", "indices": []}, "to have values"),
    ],
)
def test_another_form_is_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseVector.from_dict(written)


def test_dimensions_may_come_in_any_order() -> None:
    made = normalize_sparse_vector([5, 1], [0.5, 2.0], ["b", "a"])
    assert made == SparseVector([1, 5], [2.0, 0.5], ["a", "b"])
    assert normalize_sparse_vector([], [], []) == SparseVector([], [])
    with pytest.raises(ValueError, match="ascending"):
        normalize_sparse_vector([5, 5], [1.0, 2.0])
    with pytest.raises(ValueError, match="same length"):
        normalize_sparse_vector([5, 1], [1.0])


class Lengths(SparseEmbeddingFunction[Any]):
    def __init__(self, scale: float = 1.0, endpoint_url: str | None = None) -> None:
        self.scale = scale
        self.endpoint_url = endpoint_url

    def __call__(self, texts: Any) -> Any:
        return [SparseVector([len(text)], [self.scale]) for text in texts]

    @staticmethod
    def name() -> str:
        return "lengths"

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "endpoint_url": self.endpoint_url}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Lengths:
        return Lengths(**config)


@pytest.fixture(autouse=True)
def same_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sparse_known_embedding_functions):
        known = sparse_known_embedding_functions[name]
        monkeypatch.setitem(sparse_known_embedding_functions, name, known)
    monkeypatch.setitem(sparse_known_embedding_functions, "lengths", Lengths)


def test_a_function_of_ones_own_is_registered_and_rebuilt() -> None:
    del sparse_known_embedding_functions["lengths"]
    assert register_sparse_embedding_function(Lengths) is Lengths
    assert register_sparse_embedding_function()(Lengths) is Lengths
    stored = sparse_embedding_function_to_config(Lengths(3.0))
    assert stored == {
        "type": "known", "name": "lengths", "config": {"scale": 3.0, "endpoint_url": None},
    }  # fmt: skip
    again = config_to_sparse_embedding_function(json.loads(json.dumps(stored)))
    assert again(["ab"]) == again.embed_query(["ab"]) == [SparseVector([2], [3.0])]
    # The argument has one name, however the subclass calls it.
    assert again(input=["ab"]) == again.embed_with_retries(["ab"])


def test_a_stored_address_is_not_followed_unasked() -> None:
    stored = sparse_embedding_function_to_config(Lengths(endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(ValueError, match="endpoint_url"):
        config_to_sparse_embedding_function(stored)
    again = config_to_sparse_embedding_function(stored, is_trusted=True)
    assert again.get_config()["endpoint_url"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({}, "must contain a 'name'"),
        ({"name": "nothing"}, "Unsupported sparse embedding function: nothing"),
        ({"name": "lengths", "config": {"other": 1}}, "Could not build .* lengths"),
        ({"name": "chroma_bm25", "config": {"avg_doc_length": 0}}, "avg_doc_length"),
    ],
)
def test_what_cannot_be_built_is_told(stored: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_to_sparse_embedding_function(stored)


def test_no_function_is_unknown() -> None:
    assert sparse_embedding_function_to_config(None) == {"type": "unknown"}


@pytest.mark.parametrize("made", [None, [], [[1, 2]], [SparseVector([], []), None], "text"])
def test_what_a_function_returns_is_checked(made: Any) -> None:
    class Wrong(Lengths):
        def __call__(self, input: Any) -> Any:
            return made

    with pytest.raises(ValueError, match="Expected"):
        Wrong()(["a"])


def test_a_function_lacks_nothing() -> None:
    class Lacking(SparseEmbeddingFunction[Any]):
        def __call__(self, input: Any) -> Any:
            return []

    with pytest.raises(TypeError, match="abstract"):
        Lacking()  # type: ignore[abstract]
    assert isinstance(ChromaBm25EmbeddingFunction(), SparseEmbeddingFunction)


def test_bm25_is_stored_as_chroma_stores_it() -> None:
    stored = sparse_embedding_function_to_config(ChromaBm25EmbeddingFunction())
    assert stored == {
        "type": "known",
        "name": "chroma_bm25",
        "config": {
            "k": 1.2,
            "b": 0.75,
            "avg_doc_length": 256.0,
            "token_max_length": 40,
            "include_tokens": False,
        },
    }
    again = config_to_sparse_embedding_function(stored)
    assert again.get_config() == stored["config"]
    assert set(sparse_known_embedding_functions) >= {
        "bm25", "chroma-cloud-splade", "chroma_bm25", "fastembed_sparse", "huggingface_sparse",
    }  # fmt: skip
