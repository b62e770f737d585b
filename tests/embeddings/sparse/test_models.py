"""Sparse models on this machine: fastembed's, and those of sentence-transformers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgchroma.embeddings.sparse import (
    Bm25EmbeddingFunction,
    FastembedSparseEmbeddingFunction,
    HuggingFaceSparseEmbeddingFunction,
    SparseEmbeddingFunction,
    config_to_sparse_embedding_function,
    sparse_embedding_function_to_config,
)

pytestmark = pytest.mark.heavy

Make = Callable[..., SparseEmbeddingFunction[Any]]


def _bm25(**settings: Any) -> Bm25EmbeddingFunction:
    with pytest.warns(DeprecationWarning, match="Please use ChromaBm25EmbeddingFunction"):
        return Bm25EmbeddingFunction(**settings)


MAKERS = [
    pytest.param("fastembed", _bm25, id="bm25"),
    pytest.param("fastembed", lambda **rest: FastembedSparseEmbeddingFunction("m", **rest),
                 id="fastembed_sparse"),
    pytest.param("sentence_transformers",
                 lambda **rest: HuggingFaceSparseEmbeddingFunction("m", "cpu", **rest),
                 id="huggingface_sparse"),
]  # fmt: skip


@pytest.mark.parametrize(("package", "make"), MAKERS)
def test_a_missing_package_is_told(
    package: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(ValueError, match=rf"{package} python package.*pip install 'pgchroma\["):
        make()


@pytest.fixture
def anything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fastembed", "huggingface"):
        monkeypatch.setattr(
            f"pgchroma.embeddings.sparse.{module}.check_installed", lambda *packages, extra: None
        )


@pytest.mark.usefixtures("anything_installed")
@pytest.mark.parametrize(("package", "make"), MAKERS)
def test_wrong_settings_are_told(package: str, make: Make) -> None:
    with pytest.raises(ValueError, match="task must be document or query, got 'other'"):
        make(task="other")
    with pytest.raises(ValueError, match=r"query_config\.task must be document or query, got None"):
        make(query_config={})
    with pytest.raises(ValueError, match="Keyword argument thing is not a primitive type"):
        make(thing=object())


@pytest.mark.usefixtures("anything_installed")
@pytest.mark.filterwarnings("ignore:Bm25EmbeddingFunction is deprecated")
@pytest.mark.parametrize(("package", "make"), MAKERS)
def test_it_can_be_built_again_without_its_model(package: str, make: Make) -> None:
    function = make(query_config={"task": "query"}, more=[1, 2])
    stored = sparse_embedding_function_to_config(function)
    again = config_to_sparse_embedding_function(json.loads(json.dumps(stored)), is_trusted=True)
    assert type(again) is type(function)
    assert again.get_config() == function.get_config() == stored["config"]
    assert stored["config"]["kwargs"] == {"more": [1, 2]}
    again.validate_config_update(stored["config"], {**stored["config"], "model_name": "moved"})


@pytest.mark.usefixtures("anything_installed")
@pytest.mark.filterwarnings("ignore:Bm25EmbeddingFunction is deprecated")
@pytest.mark.parametrize(("package", "make"), MAKERS)
def test_a_token_is_not_stored(package: str, make: Make) -> None:
    function = make(token="hf_SECRET", deeper={"token": "hf_SECRET", "kept": 1})
    assert function.get_config()["kwargs"] == {"deeper": {"kept": 1}}


@pytest.mark.usefixtures("anything_installed")
def test_remote_code_is_not_run_unasked() -> None:
    function = HuggingFaceSparseEmbeddingFunction("m", "cpu", trust_remote_code=True)
    with pytest.raises(ValueError, match="trust_remote_code"):
        config_to_sparse_embedding_function(sparse_embedding_function_to_config(function))


def test_no_package_is_imported_before_it_is_used() -> None:
    code = """
import sys
import pgchroma.embeddings.sparse
found = {"fastembed", "torch", "sentence_transformers", "snowballstemmer"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def stopwords(tmp_path: Path) -> str:
    pytest.importorskip("fastembed")
    (tmp_path / "english.txt").write_text("the\nand\n")
    return str(tmp_path)


def test_fastembeds_bm25_weighs_words(stopwords: str) -> None:
    function = _bm25(specific_model_path=stopwords, query_config={"task": "query"}, k=2.0)
    (stored,) = function(["the cats and the dogs and cats"])
    (query,) = function.embed_query(["the cat"])
    assert len(stored.indices) == 2
    assert query.values == [1.0]
    assert query.indices[0] in stored.indices
    twice = max(stored.values)
    assert stored.values[stored.indices.index(query.indices[0])] == twice
    # Of four words, with k of 2, b of 0.75 and 256 words on average.
    assert twice == pytest.approx(2 * 3 / (2 + 2 * (1 - 0.75 + 0.75 * 3 / 256)), rel=1e-6)


def test_queries_are_embedded_as_documents_unless_told(stopwords: str) -> None:
    function = _bm25(specific_model_path=stopwords)
    assert function.embed_query(["cat cat"]) == function(["cat cat"])
    asking = _bm25(specific_model_path=stopwords, task="query")
    assert asking(["cat cat"])[0].values == [1.0]
    with pytest.raises(ValueError, match="Expected"):
        function([None])  # type: ignore[list-item]


def test_a_model_is_loaded_once_and_late(stopwords: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = _bm25(specific_model_path=stopwords)
    loaded: list[Any] = []
    load = function._load

    def counted() -> Any:
        loaded.append(load())
        return loaded[-1]

    monkeypatch.setattr(function, "_load", counted)
    assert not loaded
    threads = [threading.Thread(target=function, args=(["cat"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 1


def test_fastembed_is_asked_for_the_model(tmp_path: Path) -> None:
    pytest.importorskip("fastembed")
    function = FastembedSparseEmbeddingFunction("no/such-model", cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="no/such-model"):
        function(["a"])
    (tmp_path / "english.txt").write_text("the\n")
    known = FastembedSparseEmbeddingFunction(
        "Qdrant/bm25", cache_dir=str(tmp_path), specific_model_path=str(tmp_path)
    )
    (made,) = known(["the cat"])
    assert len(made.indices) == 1


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SPLADE of one layer with random weights, written to a directory."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.sparse_encoder.models")
    path = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "the", "sky"]
    (path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=16,
    )  # fmt: skip
    torch.manual_seed(0)
    raw = path / "raw"
    transformers.BertForMaskedLM(config).save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    encoder = package.SparseEncoder(
        modules=[models.MLMTransformer(str(raw)), models.SpladePooling("max")], device="cpu"
    )
    encoder.save(str(path / "encoder"))
    return str(path / "encoder")


@pytest.mark.filterwarnings("ignore")
def test_a_sparse_encoder_embeds(tiny_encoder: str) -> None:
    package = pytest.importorskip("sentence_transformers")
    function = HuggingFaceSparseEmbeddingFunction(
        tiny_encoder, "cpu", query_config={"task": "query"}
    )
    texts = ["the cat", "dog sky the dog"]
    encoder = package.SparseEncoder(tiny_encoder, device="cpu")
    for made, expected in (
        (function(texts), encoder.encode_document(texts)),
        (function.embed_query(texts), encoder.encode_query(texts)),
    ):
        for vector, row in zip(made, expected.to_dense().numpy(), strict=True):
            assert vector.indices
            assert {n: row[n] for n in vector.indices} == dict(
                zip(vector.indices, vector.values, strict=True)
            )
            assert (row != 0).sum() == len(vector.indices)
