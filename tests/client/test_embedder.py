"""The embedder that a collection shares with its table and with re-embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pgchroma.api.types import Documents, EmbeddingFunction, Embeddings, Loadable
from pgchroma.client._sync.embedder import Embedder
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.registry import embedding_function_to_config, register_embedding_function


class Counted(EmbeddingFunction[Documents]):
    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, input: Documents) -> Embeddings:
        return [np.full(2, len(text), dtype=np.float32) for text in input]

    def embed_query(self, input: Documents) -> Embeddings:
        self.queries += len(input)
        return self(input)

    @staticmethod
    def name() -> str:
        return "counted"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> EmbeddingFunction[Documents]:
        return Counted()


register_embedding_function(Counted)
STORED = embedding_function_to_config(Counted())


def load(uris: Sequence[str | None]) -> Loadable:
    return [np.zeros((1, 1)) for _ in uris]


def test_the_default_function_gives_way_to_the_stored_one() -> None:
    assert isinstance(Embedder(DefaultEmbeddingFunction(), persisted=STORED).function(), Counted)


def test_the_default_function_embeds_again_where_no_other_is_stored() -> None:
    default = DefaultEmbeddingFunction()
    assert Embedder(default).function() is default


def test_any_other_function_has_priority() -> None:
    function = Counted()
    assert Embedder(function, persisted=STORED).function() is function


def test_there_may_be_no_function() -> None:
    embedder = Embedder(None)
    assert not embedder.has_given
    with pytest.raises(ValueError, match="You must provide an embedding function"):
        embedder.embed(["a"])


def test_records_and_queries_are_embedded_by_their_methods() -> None:
    function = Counted()
    embedder = Embedder(function)
    assert [list(each) for each in embedder.embed(["a", "bb"])] == [[1, 1], [2, 2]]
    assert function.queries == 0
    assert [list(each) for each in embedder.embed_queries(["abc"])] == [[3, 3]]
    assert function.queries == 1


def test_data_is_loaded_only_with_a_loader() -> None:
    assert len(Embedder(None, load).load(["a", None])) == 2
    with pytest.raises(ValueError, match="You must set a data loader"):
        Embedder(None).load(["a"])


def test_a_change_is_seen_by_all_who_share_the_embedder() -> None:
    first, second = Counted(), Counted()
    embedder = Embedder(first, load)
    embedder.change(None, STORED)
    assert embedder.function() is first
    embedder.change(second, STORED)
    assert embedder.function() is second
    derived = embedder.with_function(first)
    assert derived.function() is first
    assert derived.data_loader is load
    assert embedder.with_function(None).function() is second
