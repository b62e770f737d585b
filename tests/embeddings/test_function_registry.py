"""The registries of dense and of sparse functions, which are of one class."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pgchroma import Schema, SparseVectorIndexConfig
from pgchroma.embeddings import DefaultEmbeddingFunction, EmbeddingFunction
from pgchroma.embeddings.function_registry import FunctionRegistry
from pgchroma.embeddings.registry import (
    PROVIDERS,
    config_to_embedding_function,
    embedding_function_to_config,
    known_embedding_functions,
    register_embedding_function,
)
from pgchroma.embeddings.sparse import (
    SparseEmbeddingFunction,
    SparseVector,
    config_to_sparse_embedding_function,
    register_sparse_embedding_function,
    sparse_embedding_function_to_config,
    sparse_known_embedding_functions,
)
from pgchroma.utils import embedding_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Dense(EmbeddingFunction[Any]):
    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __call__(self, input: Any) -> Any:
        return [np.ones(self.size, np.float32) for _ in input]

    @staticmethod
    def name() -> str:
        return "registry-test"

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Dense:
        return Dense(**config)


class Sparse(SparseEmbeddingFunction[Any]):
    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __call__(self, input: Any) -> Any:
        return [SparseVector([self.size], [1.0]) for _ in input]

    @staticmethod
    def name() -> str:
        return "registry-test"

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Sparse:
        return Sparse(**config)


@dataclass(frozen=True)
class Kind:
    """A registry, and the functions that use it."""

    known: FunctionRegistry[Any]
    function_class: Any
    protocol: Any
    register: Callable[..., Any]
    to_config: Callable[[Any], Any]
    from_config: Callable[..., Any]
    word: str


DENSE = Kind(
    known_embedding_functions,
    Dense,
    EmbeddingFunction,
    register_embedding_function,
    embedding_function_to_config,
    config_to_embedding_function,
    "embedding function",
)
SPARSE = Kind(
    sparse_known_embedding_functions,
    Sparse,
    SparseEmbeddingFunction,
    register_sparse_embedding_function,
    sparse_embedding_function_to_config,
    config_to_sparse_embedding_function,
    "sparse embedding function",
)

both = pytest.mark.parametrize("kind", [DENSE, SPARSE], ids=["dense", "sparse"])


@pytest.fixture(autouse=True)
def restored_registries() -> Iterator[None]:
    before = [(kind.known, dict(kind.known)) for kind in (DENSE, SPARSE)]
    yield
    for known, classes in before:
        known.clear()
        known.update(classes)


@both
def test_a_function_is_stored_and_built(kind: Kind) -> None:
    stored = kind.to_config(kind.function_class(5))
    assert stored == {"type": "known", "name": "registry-test", "config": {"size": 5}}
    assert kind.known["registry-test"] is kind.function_class
    assert kind.from_config(stored).size == 5


@both
@pytest.mark.parametrize("stored", [{}, {"config": None}, {"config": {}}], ids=str)
def test_a_function_without_stored_settings_gets_none(kind: Kind, stored: Any) -> None:
    kind.register(kind.function_class)
    assert kind.from_config({"name": "registry-test", **stored}).size == 3


@both
@pytest.mark.parametrize("name", [None, "", 5, NotImplemented])
def test_a_class_with_another_name_than_a_text_is_refused(
    kind: Kind, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(kind.known)
    monkeypatch.setattr(kind.function_class, "name", staticmethod(lambda: name))
    message = f"^Failed to register {kind.word}: .* needs a name, and it is {name!r}. Give the cl"
    with pytest.raises(ValueError, match=message):
        kind.register(kind.function_class)
    assert dict(kind.known) == before


@both
def test_a_class_without_a_name_is_refused(kind: Kind) -> None:
    nameless = type("Nameless", (kind.protocol,), {"__call__": lambda self, texts: []})
    with pytest.raises(ValueError, match="needs a name, and it has none"):
        kind.register(nameless)
    assert NotImplemented not in kind.known


@both
@pytest.mark.parametrize("name", ["bogus", 5, None, ["a"]])
def test_an_unknown_name_is_refused(kind: Kind, name: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(str(name))):
        kind.from_config({"name": name})


def test_a_sparse_function_whose_name_is_not_a_text_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sparse, "name", staticmethod(lambda: NotImplemented))
    with pytest.raises(ValueError, match="needs a name"):
        sparse_embedding_function_to_config(Sparse())
    monkeypatch.setattr(Dense, "name", staticmethod(lambda: 5))
    with pytest.warns(DeprecationWarning, match="needs a name"):
        assert embedding_function_to_config(Dense()) == {"type": "legacy"}


def test_a_schema_stores_and_registers_its_sparse_function() -> None:
    config = SparseVectorIndexConfig(embedding_function=Sparse(7), source_key="#document")
    written = Schema().create_index(config, key="s").serialize_to_json()["keys"]["s"]
    stored = written["sparse_vector"]["sparse_vector_index"]["config"]["embedding_function"]
    assert stored == sparse_embedding_function_to_config(Sparse(7))
    assert sparse_known_embedding_functions["registry-test"] is Sparse


class TestLoading:
    def test_a_module_is_imported_when_its_class_is_used(self) -> None:
        code = """
import sys, pgchroma
from pgchroma.embeddings import known_embedding_functions as known
from pgchroma.embeddings.sparse import sparse_known_embedding_functions as sparse
from pgchroma.utils import embedding_functions
def loaded(package):
    prefix = f"pgchroma.embeddings.{package}."
    return {n.removeprefix(prefix) for n in sys.modules if n.startswith(prefix)}
assert "openai" in known and "bogus" not in known and not loaded("providers")
assert known["ollama"].name() == "ollama"
assert "openai" not in loaded("providers")
embedding_functions.OpenAIEmbeddingFunction
assert "openai" in loaded("providers")
assert "cohere" not in loaded("providers")
assert "bm25" in sparse and "bogus" not in sparse
assert loaded("sparse") == {"protocol", "registry"}, loaded("sparse")
assert sparse["chroma_bm25"].name() == "chroma_bm25"
assert "bm25" in loaded("sparse") and "splade" not in loaded("sparse")
embedding_functions.ChromaCloudSpladeEmbeddingFunction
assert "splade" in loaded("sparse")
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    @both
    def test_every_class_has_its_name(self, kind: Kind) -> None:
        for name, function_class in kind.known.items():
            assert issubclass(function_class, kind.protocol), name


class TestDict:
    def fresh(self) -> Any:
        return FunctionRegistry(
            "embedding function",
            EmbeddingFunction,
            "pgchroma.embeddings.providers",
            PROVIDERS,
            {"default": DefaultEmbeddingFunction},
            not_found="{name}",
        )

    def test_it_is_a_dict_in_every_way_of_looking(self) -> None:
        expected = {"default", *PROVIDERS}
        for look in (dict, lambda known: {**known}, lambda known: known.copy(),
                     lambda known: known | {}, lambda known: dict(known.items()),
                     lambda known: dict(zip(known, known.values(), strict=True)),
                     copy.copy):  # fmt: skip
            seen = look(self.fresh())
            assert set(seen) == expected
            assert len(seen) == len(expected)
            assert seen["openai"].name() == "openai"
        assert list(reversed(self.fresh())) == list(self.fresh())[::-1]
        assert self.fresh() == self.fresh()
        assert self.fresh() == dict(self.fresh())
        assert self.fresh() != {}
        assert "OpenAIEmbeddingFunction" in repr(self.fresh())
        assert isinstance(self.fresh(), dict)

    def test_it_can_be_changed_like_a_dict(self) -> None:
        known = self.fresh()
        known["openai"] = Dense
        known.update(cohere=Dense)
        assert known["openai"] is known["cohere"] is known.get("cohere") is Dense
        assert known.setdefault("jina", Dense).name() == "jina"
        assert known.pop("mistral").name() == "mistral"
        assert "mistral" not in known
        assert known.pop("mistral", None) is None
        del known["nomic"]
        assert "nomic" not in known
        assert known.get("nomic") is None
        with pytest.raises(KeyError):
            known["nomic"]
        with pytest.raises(KeyError):
            del known["nomic"]
        assert dict(known)["openai"] is Dense
        name, _ = known.popitem()
        assert name not in known
        known.clear()
        assert (len(known), list(known), "openai" in known) == (0, [], False)


def test_chromas_module_has_every_provider() -> None:
    classes = {function for _, function in PROVIDERS.values()}
    assert classes < set(embedding_functions.__all__)
    assert set(embedding_functions.__all__) <= set(dir(embedding_functions))
    for name in embedding_functions.__all__:
        assert getattr(embedding_functions, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchFunction'"):
        embedding_functions.NoSuchFunction  # noqa: B018


def test_a_class_that_is_exported_can_be_pickled_by_its_name() -> None:
    found = embedding_functions.OpenAIEmbeddingFunction
    assert pickle.loads(pickle.dumps(found)) is found
