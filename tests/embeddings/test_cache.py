"""Embeddings cached on disk: which function they belong to, and the effect of a damaged file."""

from __future__ import annotations

import runpy
import shutil
import sqlite3
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings import (
    DefaultEmbeddingFunction,
    EmbeddingFunction,
    MultiModalEmbeddingFunction,
    ONNXMiniLM_L6_V2,
    TextEmbeddingFunction,
)
from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction, Purpose
from pgchroma.embeddings.calls.cache import VectorCache, class_identity, content_key
from pgchroma.embeddings.lancedb.adapters import with_create
from pgchroma.embeddings.providers.imagebind import ImageBindEmbeddingFunction, _Sound


class Counted(BatchedEmbeddingFunction[Any]):
    """Embeds a text by its length, and records its inputs."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        self.asked += batch
        return [[float(len(text)), 1.0] for text in batch]

    @staticmethod
    def name() -> str:
        return "counted"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Counted:
        return Counted()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _counted(file: Path) -> Counted:
    return Counted().with_options(cache=file)


# Whose an embedding is


class _Unsaid(EmbeddingFunction[Any]):
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, input: Any) -> Any:
        return [[self.factor] for _ in input]

    @staticmethod
    def name() -> str:
        return "unsaid"


def test_a_function_that_does_not_tell_its_settings_has_no_cache(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(ValueError, match=r"cache: _Unsaid has no get_config"):
            with_create(_Unsaid).create(factor=2.0, cache=file)
    assert with_create(_Unsaid).create(factor=2.0, batch_size=1)(["a"])[0].tolist() == [2.0]
    assert not file.exists()


class _Named(EmbeddingFunction[Any]):
    def __init__(self) -> None:
        pass

    @staticmethod
    def name() -> str:
        return "named"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Any:
        raise NotImplementedError


class _One(_Named):
    def __call__(self, input: Any) -> Any:
        return [[1.0] for _ in input]


class _Two(_Named):
    def __call__(self, input: Any) -> Any:
        return [[2.0] for _ in input]


def test_classes_of_one_name_are_kept_apart(file: Path) -> None:
    made = [with_create(kind).create(cache=file)(["a"])[0].tolist() for kind in (_One, _Two)]
    assert made == [[1.0], [2.0]]


_SCRIPT = """
from pgchroma.embeddings import TextEmbeddingFunction
class Mine(TextEmbeddingFunction):
    def ndims(self):
        return 1
    def generate_embeddings(self, texts):
        asked.append(texts)
        return [[NUMBER] for _ in texts]
asked = []
made = Mine.create(cache=FILE).compute_source_embeddings("a")[0].tolist()
"""


def test_classes_of_two_scripts_are_kept_apart(file: Path, tmp_path: Path) -> None:
    found = []
    for number in ("1.0", "2.0", "1.0"):
        script = tmp_path / f"script{number}.py"
        script.write_text(_SCRIPT.replace("NUMBER", number).replace("FILE", repr(str(file))))
        ran = runpy.run_path(str(script), run_name="__main__")
        found.append((ran["made"], len(ran["asked"])))
    assert found == [([1.0], 1), ([2.0], 1), ([1.0], 0)]


def test_a_class_is_told_by_its_module_or_its_script(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_identity(Counted) == f"{__name__}.Counted"
    kind = type("Kind", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/a/script.py", raising=False)
    assert class_identity(kind) == "/a/script.py:Kind"
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    assert class_identity(kind) == f"{Path.cwd()}:Kind"


@pytest.mark.parametrize("kind", [DefaultEmbeddingFunction, ONNXMiniLM_L6_V2])
def test_the_default_functions_are_told_by_their_model(
    kind: Any,
    exported_model: Path,
    tmp_path: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = with_create(kind).create(cache=file)
    packaged = function._identity("document")
    monkeypatch.setenv("PGCHROMA_MODEL_PATH", str(exported_model))
    exported = function._identity("document")
    moved, other = tmp_path / "moved", tmp_path / "other"
    for directory in (moved, other):
        directory.mkdir()
        (directory / "model.onnx").symlink_to(exported_model / "model.onnx")
        shutil.copy(exported_model / "tokenizer.json", directory)
    with (other / "tokenizer.json").open("a") as tokenizer:
        tokenizer.write("\n")
    monkeypatch.setenv("PGCHROMA_MODEL_PATH", str(moved))
    assert function._identity("document") == exported
    monkeypatch.setenv("PGCHROMA_MODEL_PATH", str(other))
    assert len({packaged, exported, function._identity("document")}) == 3


def test_a_model_that_was_given_is_told(exported_model: Path, file: Path) -> None:
    plain = with_create(ONNXMiniLM_L6_V2).create(cache=file)
    given = with_create(ONNXMiniLM_L6_V2).create(cache=file, model_path=exported_model)
    assert plain._identity("document") != given._identity("document")


class _Binding(ImageBindEmbeddingFunction):
    def __init__(self) -> None:
        self.model_name, self.device, self.normalize = "imagebind_huge", "cpu", False

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        return [[2.0 if isinstance(value, _Sound) else 1.0] for value in batch]


def test_a_sound_is_no_text_of_its_name(file: Path) -> None:
    function = _Binding().with_options(cache=file)
    for _ in range(2):
        assert function(["a.wav"])[0].tolist() == [1.0]
        assert function.compute_source_embeddings("a.wav")[0].tolist() == [2.0]


def test_an_identity_may_have_any_characters() -> None:
    assert content_key("\udcff", "a") != content_key("\udcfe", "a")


# Results


def test_equal_texts_have_an_array_each_that_can_be_written(file: Path) -> None:
    for _ in ("a miss", "a hit"):
        first, second = _counted(file)(["a", "a"])
        first[0] = 7
        assert second.tolist() == [1.0, 1.0]
        assert first.dtype == second.dtype == np.float32
        second[0] = 8
    assert _counted(file)(["a"])[0].tolist() == [1.0, 1.0]


# Damage


@pytest.mark.parametrize(
    "content",
    [b"no database at all " * 100, b"SQLite format 3\x00" + b"\xff" * 200],
    ids=["text", "a head only"],
)
def test_a_file_that_is_no_database_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"cache: cannot use {file} as a database"):
        _counted(file)(["a"])
    assert file.read_bytes() == content


def test_a_database_of_something_else_is_named(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("create table embeddings (other text)")
    connection.close()
    with pytest.raises(ValueError, match=f"cache: cannot use {file} as a database"):
        _counted(file)(["a"])


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x00\x00\x00", "text", np.array([np.nan, 1], "<f4").tobytes(),
     np.array([1, np.inf], "<f4").tobytes()],
    ids=["empty", "cut", "text", "nan", "infinite"],
)  # fmt: skip
def test_a_damaged_embedding_is_computed_again(file: Path, blob: object) -> None:
    _counted(file)(["a", "bb"])
    with sqlite3.connect(file) as connection:
        connection.execute(
            "update embeddings set embedding = ? where key = ?",
            (blob, content_key(_counted(file)._identity("document"), "a")),
        )
    connection.close()
    function = _counted(file)
    assert [each.tolist() for each in function(["a", "bb"])] == [[1.0, 1.0], [2.0, 1.0]]
    assert function.asked == ["a"]
    again = _counted(file)
    again(["a", "bb"])
    assert again.asked == []


def test_only_the_owner_reads_what_is_kept(file: Path) -> None:
    VectorCache(file)
    assert file.stat().st_mode & 0o077 == 0


# Functions that are not called in batches


class _Pictures(MultiModalEmbeddingFunction):
    def ndims(self) -> int:
        return 1

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Any:
        return [[1.0] for _ in texts]

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        return [[1.0]]


def test_options_without_effect_are_refused(file: Path) -> None:
    with pytest.raises(
        TypeError, match=r"_Pictures has no setting batch_size, cache, expected max_"
    ):
        _Pictures.create(cache=file, batch_size=2)
    assert _Pictures.create(max_retries=2).max_retries == 2

    class Sized(_Pictures):
        batch_size: int = 1

    assert Sized.create(batch_size=3).batch_size == 3
    assert issubclass(TextEmbeddingFunction, MultiModalEmbeddingFunction)
