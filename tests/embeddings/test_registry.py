from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pgchroma.embeddings import (
    DefaultEmbeddingFunction,
    EmbeddingFunction,
    ONNXMiniLM_L6_V2,
    config_to_embedding_function,
    embedding_function_to_config,
    known_embedding_functions,
    register_embedding_function,
)
from pgchroma.embeddings.protocol import Documents, Embeddings
from pgchroma.utils import data_loaders, embedding_functions

if TYPE_CHECKING:
    from collections.abc import Iterator


class Constant(EmbeddingFunction[Documents]):
    """Persistable: it has everything a collection stores."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, input: Documents) -> Embeddings:
        return [np.full(3, self.value, dtype=np.float32) for _ in input]

    @staticmethod
    def name() -> str:
        return "constant"

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Constant:
        return Constant(config["value"])


@pytest.fixture(autouse=True)
def restored_registry() -> Iterator[None]:
    before = dict(known_embedding_functions)
    yield
    known_embedding_functions.clear()
    known_embedding_functions.update(before)


def test_the_functions_of_this_package_are_known() -> None:
    assert known_embedding_functions["default"] is DefaultEmbeddingFunction
    assert known_embedding_functions["onnx_mini_lm_l6_v2"] is ONNXMiniLM_L6_V2


@pytest.mark.parametrize(
    "register",
    [register_embedding_function, register_embedding_function(), register_embedding_function(None)],
)
def test_registering_gives_the_class_back(register: Any) -> None:
    assert register(Constant) is Constant
    assert known_embedding_functions["constant"] is Constant


def test_a_class_without_a_name_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match=r"^Failed to register embedding function: "):
        register_embedding_function(int)  # type: ignore[type-var]


def test_a_function_comes_back_as_it_was_stored() -> None:
    stored = embedding_function_to_config(Constant(2.5))
    assert stored == {"type": "known", "name": "constant", "config": {"value": 2.5}}
    rebuilt = config_to_embedding_function(stored)
    assert isinstance(rebuilt, Constant)
    assert rebuilt.value == 2.5


@pytest.mark.parametrize(
    ("function", "stored"),
    [
        (DefaultEmbeddingFunction(), {"type": "known", "name": "default", "config": {}}),
        (
            ONNXMiniLM_L6_V2(["CPUExecutionProvider"]),
            {
                "type": "known",
                "name": "onnx_mini_lm_l6_v2",
                "config": {"preferred_providers": ["CPUExecutionProvider"]},
            },
        ),
    ],
)
def test_our_own_functions_come_back(function: Any, stored: dict[str, Any]) -> None:
    assert embedding_function_to_config(function) == stored
    rebuilt = config_to_embedding_function(stored)
    assert type(rebuilt) is type(function)
    assert rebuilt.get_config() == stored["config"]


def test_no_function_is_stored_as_nothing() -> None:
    assert embedding_function_to_config(None) is None


def test_storing_a_function_registers_its_class() -> None:
    assert "constant" not in known_embedding_functions
    embedding_function_to_config(Constant())
    assert known_embedding_functions["constant"] is Constant


def test_a_class_without_a_name_is_not_registered() -> None:
    with pytest.raises(ValueError, match="needs a name, and it has none"):

        @register_embedding_function
        class Nameless(EmbeddingFunction[Any]):
            def __call__(self, input: Any) -> Any:
                return []

    with pytest.raises(ValueError, match="Failed to register"):
        register_embedding_function()(int)  # type: ignore[type-var]
    assert NotImplemented not in known_embedding_functions


def test_a_function_without_configuration_is_legacy_and_warns() -> None:
    class Unconfigured(EmbeddingFunction[Documents]):
        def __init__(self) -> None:
            pass

        def __call__(self, input: Documents) -> Embeddings:
            return [np.ones(2, dtype=np.float32)]

    with pytest.warns(DeprecationWarning, match="does not implement"):
        assert embedding_function_to_config(Unconfigured()) == {"type": "legacy"}


@pytest.mark.parametrize("method", ["get_config", "build_from_config", "name", "validate_config"])
def test_a_function_that_fails_to_say_its_configuration_is_legacy(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no key")

    monkeypatch.setattr(Constant, method, fail)
    with pytest.warns(DeprecationWarning, match=r"^legacy embedding function config: no key$"):
        assert embedding_function_to_config(Constant()) == {"type": "legacy"}
    assert "constant" not in known_embedding_functions


def test_something_that_is_no_embedding_function_is_legacy() -> None:
    with pytest.warns(DeprecationWarning, match=r"^legacy embedding function config: "):
        assert embedding_function_to_config(len) == {"type": "legacy"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "Config must contain a 'name' field."),
        (
            {"name": "bogus", "config": {}},
            "Embedding function bogus not found. "
            "Add @register_embedding_function decorator to the class definition.",
        ),
        (
            {"name": "constant", "config": {"x": 1}},
            "Could not build embedding function constant from config {'x': 1}: 'value'",
        ),
    ],
)
def test_what_cannot_be_rebuilt_says_why(config: dict[str, Any], message: str) -> None:
    register_embedding_function(Constant)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        config_to_embedding_function(config)


def test_chromas_import_paths_give_the_same_objects() -> None:
    assert embedding_functions.DefaultEmbeddingFunction is DefaultEmbeddingFunction
    assert embedding_functions.known_embedding_functions is known_embedding_functions
    assert data_loaders.ImageLoader.__name__ == "ImageLoader"
