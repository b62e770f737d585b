"""Functions with local models: run with the real packages, on weights from pip packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings import (
    DefaultEmbeddingFunction,
    config_to_embedding_function,
    embedding_function_to_config,
    register_embedding_function,
)
from pgchroma.embeddings.providers import local
from pgchroma.embeddings.providers.imagebind import ImageBindEmbeddingFunction
from pgchroma.embeddings.providers.instructor import InstructorEmbeddingFunction
from pgchroma.embeddings.providers.open_clip import OpenCLIPEmbeddingFunction
from pgchroma.embeddings.providers.sentence_transformer import (
    SentenceTransformerEmbeddingFunction,
)
from pgchroma.embeddings.providers.text2vec import Text2VecEmbeddingFunction
from pgchroma.embeddings.providers.transformers import TransformersEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.models import need
from tests.embeddings.test_extras import advice, hide

# The packages warn of each other, and of this machine's having no CUDA.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("default")]

TEXTS = [
    "The keeper of the old lighthouse counts every ship.",
    "",
    "a",
    "Ein Leuchtturm! 日本語 🚢",
    "many words " * 2_000,
    *(f"ship number {n} " * (n % 7 + 1) for n in range(40)),
]
QUICK = {"progress": False, "max_retries": 0}

Transformer = SentenceTransformerEmbeddingFunction


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="session")
def model_directory(packaged_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence-transformers directory of all-MiniLM-L6-v2."""
    directory = tmp_path_factory.mktemp("models") / "all-MiniLM-L6-v2"
    shutil.copytree(packaged_model, directory)
    return str(directory)


@pytest.fixture(scope="session")
def expected(default: DefaultEmbeddingFunction) -> np.ndarray[Any, Any]:
    return np.array(default(TEXTS))


class TestSentenceTransformer:
    def test_it_has_the_numbers_of_the_default_function(
        self, model_directory: str, expected: np.ndarray[Any, Any]
    ) -> None:
        need("sentence_transformers")
        made = Transformer(model_directory).with_options(**QUICK)(TEXTS)
        assert {each.dtype for each in made} == {np.dtype(np.float32)}
        np.testing.assert_allclose(np.array(made), expected, rtol=0, atol=1e-5)

    def test_batches_of_any_size_give_the_same(
        self, model_directory: str, expected: np.ndarray[Any, Any]
    ) -> None:
        need("sentence_transformers")
        function = Transformer.create(name=model_directory, batch_size=7, **QUICK)
        np.testing.assert_allclose(np.array(function(TEXTS)), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            np.array(function.embed_query(TEXTS[:3])), expected[:3], rtol=0, atol=1e-5
        )
        assert function.ndims() == 384

    def test_functions_that_ask_for_the_same_share_a_model(
        self, model_directory: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        need("sentence_transformers")
        monkeypatch.setattr(local, "_loaded_models", local.ModelCache())
        loaded: list[Any] = []
        load = Transformer.load

        def counted(self: Transformer) -> Any:
            loaded.append(self.model_settings())
            return load(self)

        monkeypatch.setattr(Transformer, "load", counted)
        one, other = Transformer(model_directory), Transformer(model_directory, "cpu", True)
        cut = Transformer(model_directory, truncate_dim=64)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda function: function(["a"]), [one, other, one, cut]))
        assert [len(each[0]) for each in made] == [384, 384, 384, 64]
        assert len(loaded) == 2
        assert cut.ndims() == 64

    def test_threads_take_turns(self, model_directory: str, expected: np.ndarray[Any, Any]) -> None:
        need("sentence_transformers")
        function = Transformer.create(name=model_directory, batch_size=4, concurrency=4, **QUICK)
        with ThreadPoolExecutor(3) as pool:
            for made in pool.map(function, [TEXTS] * 3):
                np.testing.assert_allclose(np.array(made), expected, rtol=0, atol=1e-5)

    def test_it_can_be_built_again_from_its_configuration(self, model_directory: str) -> None:
        need("sentence_transformers")
        function = Transformer(
            model_directory,
            normalize_embeddings=True,
            truncate_dim=8,
            local_files_only=True,
            model_kwargs={"attn_implementation": "eager", "token": "hf_secret"},
            token="hf_secret",
        )
        register_embedding_function(Transformer)
        stored = json.loads(json.dumps(embedding_function_to_config(function)))
        assert stored["name"] == "sentence_transformer"
        assert stored["config"] == {
            "model_name": model_directory,
            "device": "cpu",
            "normalize_embeddings": True,
            "kwargs": {
                "truncate_dim": 8,
                "local_files_only": True,
                "model_kwargs": {"attn_implementation": "eager"},
            },
        }
        again = config_to_embedding_function(stored, is_trusted=True)
        assert again.get_config() == stored["config"]
        (vector,) = again(["a"])
        assert vector.shape == (8,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)

    def test_code_that_comes_with_a_model_is_not_run_for_what_is_stored(self) -> None:
        need("sentence_transformers")
        register_embedding_function(Transformer)
        for kwargs in ({"trust_remote_code": True}, {"config_kwargs": {"trust_remote_code": True}}):
            stored = embedding_function_to_config(Transformer("some/model", **kwargs))
            assert stored is not None
            with pytest.raises(ValueError, match="trust_remote_code"):
                config_to_embedding_function(stored)
            again = config_to_embedding_function(stored, is_trusted=True)
            assert again.get_config()["kwargs"] == kwargs
        assert "trust_remote_code" not in str(Transformer.create(name="a/b").get_config())

    @pytest.mark.parametrize("value", [None, object(), {"a": object()}, [b"x"], {1: 2}])
    def test_what_json_does_not_have_is_refused(self, value: Any) -> None:
        need("sentence_transformers")
        with pytest.raises(ValueError, match="Keyword argument model_kwargs is not a primitive"):
            Transformer("m", model_kwargs=value)

    def test_create_normalizes_as_lancedb_does(self) -> None:
        need("sentence_transformers")
        made = Transformer.create(name="BAAI/bge-small-en-v1.5", device="cuda:0")
        assert made.get_config() == {
            "model_name": "BAAI/bge-small-en-v1.5",
            "device": "cuda:0",
            "normalize_embeddings": True,
            "kwargs": {},
        }
        assert made.ndims() == 384
        assert not Transformer.create(normalize=False).normalize_embeddings

    def test_a_model_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        need("sentence_transformers")
        missing = str(tmp_path / "no-model")
        with pytest.raises(EmbeddingError, match=r"sentence_transformer could not load .*no-model"):
            Transformer(missing)(["a"])

    def test_a_device_that_is_not_there_is_named(self, model_directory: str) -> None:
        need("sentence_transformers")
        with pytest.raises(EmbeddingError, match="could not load"):
            Transformer(model_directory, device="cuda:7")(["a"])

    @pytest.mark.parametrize("inputs", ["text", None, [None], [np.zeros((2, 2))]])
    def test_what_is_no_list_of_texts_is_refused(self, inputs: Any) -> None:
        need("sentence_transformers")
        with pytest.raises(ValueError, match="Expected documents to be a list of strings"):
            Transformer("m")(inputs)

    def test_a_forked_child_embeds_too(self, model_directory: str) -> None:
        need("sentence_transformers")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _FORKING, model_directory],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stdout.strip() == "0", done.stderr[-2000:]


_FORKING = """
import os, sys, time
from pgchroma.embeddings.providers.sentence_transformer import SentenceTransformerEmbeddingFunction
function = SentenceTransformerEmbeddingFunction(sys.argv[1])
texts = ["many words " * 60] * 32
before = function(texts)
child = os.fork()
if child == 0:
    after = function(texts)
    os._exit(int(max(abs(a - b).max() for a, b in zip(before, after)) > 1e-5))
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        print(os.waitstatus_to_exitcode(status))
        sys.exit()
    time.sleep(0.05)
os.kill(child, 9)
os.waitpid(child, 0)
print("hung")
"""


class TestInstructor:
    def test_without_an_instruction_it_embeds_the_text(
        self, model_directory: str, expected: np.ndarray[Any, Any]
    ) -> None:
        need("sentence_transformers")
        made = InstructorEmbeddingFunction(model_directory).with_options(**QUICK)(TEXTS)
        np.testing.assert_allclose(np.array(made), expected, rtol=0, atol=1e-5)

    def test_an_instruction_counts_without_its_own_words(self, model_directory: str) -> None:
        need("sentence_transformers")
        instruction, text = "Represent the ship: ", "a lighthouse"
        function = InstructorEmbeddingFunction(
            model_directory, instruction=instruction, query_instruction="Find: "
        )
        (made,) = function([text])
        np.testing.assert_allclose(
            made, _mean_of_the_rest(model_directory, instruction, text), rtol=0, atol=1e-5
        )
        (query,) = function.embed_query([text])
        np.testing.assert_allclose(
            query, _mean_of_the_rest(model_directory, "Find: ", text), rtol=0, atol=1e-5
        )

    def test_its_configuration_is_chromas_unless_it_says_more(self, model_directory: str) -> None:
        need("sentence_transformers")
        plain = InstructorEmbeddingFunction(model_directory, "cpu", "Represent:")
        assert plain.get_config() == {
            "model_name": model_directory,
            "device": "cpu",
            "instruction": "Represent:",
        }
        created = InstructorEmbeddingFunction.create(name="m", source_instruction="Store:")
        assert created.get_config() == {
            "model_name": "m",
            "device": "cpu",
            "instruction": "Store:",
            "query_instruction": "represent the document for retrieving the most similar documents",
            "normalize_embeddings": True,
        }
        for function in (plain, created):
            again = function.build_from_config(function.get_config())
            assert again.get_config() == function.get_config()


def _mean_of_the_rest(directory: str, instruction: str, text: str) -> np.ndarray[Any, Any]:
    """The mean over the tokens that do not belong to the instruction, normalized, made by hand."""
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokens = tokenizer(instruction + text, return_tensors="pt")
    states = AutoModel.from_pretrained(directory)(**tokens).last_hidden_state[0].detach().numpy()
    passed = len(tokenizer(instruction)["input_ids"]) - 1  # All but the end's mark.
    mean = states[passed:].mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


class TestTransformers:
    def test_the_mean_of_the_tokens_has_the_numbers_of_the_default_function(
        self, model_directory: str, expected: np.ndarray[Any, Any]
    ) -> None:
        need("transformers", "torch")
        texts = [text for text in TEXTS if len(text) < 1_000]
        chosen = [n for n, text in enumerate(TEXTS) if len(text) < 1_000]
        function = TransformersEmbeddingFunction(model_directory, normalize_embeddings=True)
        made = function.with_options(**QUICK)(texts)
        np.testing.assert_allclose(np.array(made), expected[chosen], rtol=0, atol=1e-5)
        plain = TransformersEmbeddingFunction(model_directory)(texts)
        lengths = np.linalg.norm(plain, axis=1, keepdims=True)
        assert (np.abs(lengths - 1) > 0.1).all()
        np.testing.assert_allclose(plain / lengths, expected[chosen], rtol=0, atol=1e-5)

    def test_a_long_text_is_cut(self, model_directory: str) -> None:
        need("transformers", "torch")
        function = TransformersEmbeddingFunction(model_directory)
        made = function(["x " * 500_000, "x " * 600])
        np.testing.assert_allclose(made[0], made[1], rtol=0, atol=1e-5)
        assert function.ndims() == 384

    def test_create_takes_the_name(self, model_directory: str) -> None:
        need("transformers", "torch")
        function = TransformersEmbeddingFunction.create(name=model_directory, batch_size=3)
        again = function.build_from_config(json.loads(json.dumps(function.get_config())))
        np.testing.assert_allclose(again(TEXTS[:5]), function(TEXTS[:5]), rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match="model name cannot be changed"):
            function.validate_config_update(function.get_config(), {"model_name": "other"})


class TestText2Vec:
    def test_it_has_the_numbers_of_the_same_model(
        self, model_directory: str, expected: np.ndarray[Any, Any]
    ) -> None:
        need("text2vec")
        function = Text2VecEmbeddingFunction(model_directory)
        assert function.get_config() == {"model_name": model_directory}
        made = np.array(function.build_from_config(function.get_config())(TEXTS))
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "package", "extra"),
    [
        (Transformer, "sentence_transformers", "sentence-transformers"),
        (InstructorEmbeddingFunction, "sentence_transformers", "instructor"),
        (Text2VecEmbeddingFunction, "text2vec", "text2vec"),
        (TransformersEmbeddingFunction, "transformers", "transformers"),
        (OpenCLIPEmbeddingFunction, "open_clip", "open-clip"),
        (ImageBindEmbeddingFunction, "imagebind", "imagebind"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    function: Any, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package in {"transformers", "open_clip"}:
        # The message has all missing packages.
        need("torch")
    hide(package, monkeypatch)
    with pytest.raises(ValueError, match=advice(package, extra)):
        function()


def test_no_package_is_imported_before_a_model_is_used() -> None:
    need("sentence_transformers", "text2vec")
    code = """
import sys
from pgchroma.embeddings.providers import (
    imagebind, instructor, open_clip, sentence_transformer, text2vec, transformers
)
sentence_transformer.SentenceTransformerEmbeddingFunction()
text2vec.Text2VecEmbeddingFunction()
transformers.TransformersEmbeddingFunction()
found = {"torch", "sentence_transformers", "transformers", "text2vec", "PIL"} & set(sys.modules)
sys.exit(bool(found))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
