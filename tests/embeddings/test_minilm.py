from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pgchroma.embeddings import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.minilm import encoder
from pgchroma.embeddings.minilm.weights import Weights, find_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pgchroma.embeddings.minilm.archive import Archive

# Words that are one token each, so that a text of n words has n + 2 tokens.
WORDS = ["river", "mountain", "house", "green", "stone", "paper", "window", "music", "garden"]


def text(words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


TEXTS = ["", "pineapple", *(text(n, seed=n) for n in (3, 300, 12, 60, 254, 255, 1, 120, 12))]


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(((a - b) ** 2).sum())


def padded_to_256(directory: Path, texts: list[str]) -> NDArray[np.float32]:
    """The reference: every text padded to 256 tokens, pooled and scaled in double precision."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=256)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=256)
    encodings = tokenizer.encode_batch(texts)
    mask = np.array([each.attention_mask for each in encodings], dtype=np.int64)
    ids = np.array([each.ids for each in encodings], dtype=np.int64)
    session = encoder.load_runtime().InferenceSession(
        str(directory / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden = session.run(None, feed)[0].astype(np.float64) * mask[:, :, None]
    mean = hidden.sum(axis=1) / mask.sum(axis=1, keepdims=True)
    scaled: NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return scaled


def test_the_documented_distances_come_out(default: DefaultEmbeddingFunction) -> None:
    pineapple, oranges = default(
        ["This is a document about pineapple", "This is a document about oranges"]
    )
    (hawaii,) = default.embed_query(["This is a query document about hawaii"])
    assert distance(pineapple, hawaii) == pytest.approx(1.0404009819030762, abs=1e-4)
    assert distance(oranges, hawaii) == pytest.approx(1.243080496788025, abs=1e-4)


@pytest.mark.heavy
def test_the_numbers_are_those_of_texts_padded_to_256(
    default: DefaultEmbeddingFunction, exported_model: Path
) -> None:
    expected = padded_to_256(exported_model, TEXTS)
    np.testing.assert_allclose(np.array(default(TEXTS)), expected, atol=1e-5, rtol=0)


def test_a_vector_does_not_depend_on_its_company(default: DefaultEmbeddingFunction) -> None:
    alone = np.array([default([each])[0] for each in TEXTS])
    order = random.Random(7).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = np.array(default([TEXTS[index] for index in order]))
    np.testing.assert_allclose(shuffled, alone[order], atol=1e-5, rtol=0)


@pytest.mark.heavy
@pytest.mark.parametrize("tokens", [1, 300, 100_000])
def test_a_vector_does_not_depend_on_the_size_of_batches(
    default: DefaultEmbeddingFunction, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    model = encoder.shared_encoder(ONNXMiniLM_L6_V2()._request())
    expected = np.array(default(TEXTS))
    monkeypatch.setattr(model, "_tokens_per_batch", tokens)
    monkeypatch.setattr(encoder, "_WINDOW", 4)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5, rtol=0)


def test_vectors_are_float32_of_length_one(default: DefaultEmbeddingFunction) -> None:
    vectors = default(TEXTS)
    assert {(each.shape, each.dtype.name) for each in vectors} == {((384,), "float32")}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_only_the_first_256_tokens_count(default: DefaultEmbeddingFunction) -> None:
    head = text(254)
    whole, longer, shorter = default([head, f"{head} and quite another end", text(253)])
    np.testing.assert_allclose(whole, longer, atol=1e-6)
    assert distance(whole, shorter) > 0


@given(st.lists(st.integers(2, 256), max_size=300), st.integers(1, 5000))
def test_batches_cover_all_texts_and_are_bounded(lengths: list[int], tokens: int) -> None:
    counts = np.array(lengths, dtype=np.int_)
    batches = list(encoder._batches(counts, tokens))
    assert sorted(int(index) for batch in batches for index in batch) == list(range(len(lengths)))
    longest = [int(counts[batch].max()) for batch in batches]
    assert all(earlier >= later for earlier, later in pairwise(longest))
    sizes = [len(batch) for batch in batches]
    assert all(n == 1 or n * most <= tokens for n, most in zip(sizes, longest, strict=True))


def test_a_mean_of_zero_stays_zero() -> None:
    hidden = np.zeros((1, 2, 384), dtype=np.float32)
    assert encoder._pool(hidden, np.ones((1, 2), dtype=np.int64)).tolist() == [[0.0] * 384]


@pytest.mark.heavy
def test_threads_share_one_model_and_get_their_own_answers(
    default: DefaultEmbeddingFunction,
) -> None:
    expected = np.array(default(TEXTS))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: default(TEXTS), range(8)))
    for result in results:
        np.testing.assert_allclose(np.array(result), expected, atol=1e-5, rtol=0)


def test_threads_that_come_at_once_load_the_model_once(
    packaged_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []

    def find(configured: Path | None, archive: Archive) -> Weights:
        loads.append(archive.directory)
        return find_weights(configured, archive)

    monkeypatch.setattr(encoder, "find_weights", find)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", tmp_path)
    request = ONNXMiniLM_L6_V2()._request()
    shelf, barrier = encoder.ModelCache(), threading.Barrier(6)

    def get() -> encoder.Encoder:
        barrier.wait()
        return shelf.get(request)

    with ThreadPoolExecutor(6) as pool:
        encoders = [future.result() for future in [pool.submit(get) for _ in range(6)]]
    assert len(set(map(id, encoders))) == 1
    assert loads == [tmp_path]


def run_python(code: str, **changes: str) -> str:
    environment = {**os.environ, **changes}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_embeds_with_a_model_of_its_own(packaged_model: Path) -> None:
    code = """
import os, signal
import numpy as np
from pgchroma.embeddings import DefaultEmbeddingFunction
embed = DefaultEmbeddingFunction()
before = embed(["a text", "another"])
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if np.allclose(embed(["a text", "another"]), before, atol=1e-5) else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.allclose(embed(["a text", "another"]), before, atol=1e-5)
"""
    run_python(code, PGCHROMA_MODEL_PATH=str(packaged_model))


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_exit(packaged_model: Path) -> None:
    code = """
import os, signal, sys
from pgchroma.embeddings import DefaultEmbeddingFunction
DefaultEmbeddingFunction()(["a text"])
# Whether a thread is asleep or at work when it is lost is a matter of luck: some try it.
for _ in range(20):
    DefaultEmbeddingFunction()(["a text"])
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    run_python(code, PGCHROMA_MODEL_PATH=str(packaged_model))


def test_onnxruntime_sends_no_telemetry_by_default(exported_model: Path, tmp_path: Path) -> None:
    code = """
import os
from pgchroma.embeddings import DefaultEmbeddingFunction
DefaultEmbeddingFunction()(["a text"])
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    places = {"PGCHROMA_MODEL_PATH": str(exported_model), "XDG_CACHE_HOME": str(tmp_path)}
    assert run_python(code, **places).strip() == "1"
    # If it sends telemetry, it stores an identifier of the machine here.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_number_of_texts(packaged_model: Path) -> None:
    code = """
import resource
from pgchroma.embeddings import DefaultEmbeddingFunction
embed = DefaultEmbeddingFunction()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
embed(["word " * 300] * 16)
before = peak()
embed(["word " * (n % 8) for n in range(1000)] + ["word " * 300] * 32)
print(peak() - before)
"""
    grown = int(run_python(code, PGCHROMA_MODEL_PATH=str(packaged_model)))
    assert grown < 60, f"{grown} MB more for 1000 texts"


@pytest.mark.parametrize("documents", ["one text", [1], [None], [["a"]], [b"bytes"], 5])
def test_what_is_no_list_of_strings_is_refused(
    default: DefaultEmbeddingFunction, documents: Any
) -> None:
    with pytest.raises(ValueError, match=r"^Expected documents to be a list of strings, got "):
        default(documents)


def test_no_texts_are_refused(default: DefaultEmbeddingFunction) -> None:
    with pytest.raises(ValueError, match=r"^Expected Embeddings to be non-empty"):
        default([])


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ([1], "Preferred providers must be a list of strings"),
        ("CPUExecutionProvider", "Preferred providers must be a list of strings"),
        (["A", "A"], "Preferred providers must be unique"),
    ],
)
def test_malformed_providers_are_refused(providers: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ONNXMiniLM_L6_V2(preferred_providers=providers)


def test_an_unavailable_provider_is_refused_at_the_first_call(packaged_model: Path) -> None:
    function = ONNXMiniLM_L6_V2(["NoSuchProvider"])
    with pytest.raises(ValueError, match="Preferred providers must be subset of available"):
        function(["a"])


@pytest.mark.parametrize(
    ("preferred", "available", "chosen"),
    [
        (None, ["CoreMLExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (["CoreMLExecutionProvider"], ["CoreMLExecutionProvider"], ["CPUExecutionProvider"]),
        (["B"], ["A", "B"], ["B"]),
    ],
)
def test_coreml_is_never_used(preferred: Any, available: list[str], chosen: list[str]) -> None:
    assert encoder._providers(preferred, available) == chosen


def test_names_spaces_and_configuration_are_chromas(default: DefaultEmbeddingFunction) -> None:
    model = ONNXMiniLM_L6_V2()
    assert (default.name(), default.default_space(), default.get_config()) == ("default", "l2", {})
    assert (model.name(), model.default_space()) == ("onnx_mini_lm_l6_v2", "cosine")
    assert model.get_config() == {"preferred_providers": None}
    assert model.supported_spaces() == ["cosine", "l2", "ip"]
    assert default.max_tokens() == model.max_tokens() == 256
    assert not default.is_legacy()
    assert not model.is_legacy()
    with pytest.raises(ValueError, match="Unknown settings of onnx_mini_lm_l6_v2"):
        model.validate_config({"model_path": "/"})


def test_using_a_function_does_not_change_its_configuration(packaged_model: Path) -> None:
    model = ONNXMiniLM_L6_V2()
    model(["a"])
    assert model.get_config() == {"preferred_providers": None}


def test_functions_can_be_pickled(default: DefaultEmbeddingFunction) -> None:
    copy = pickle.loads(pickle.dumps(ONNXMiniLM_L6_V2()))
    np.testing.assert_array_equal(copy(["a"])[0], default(["a"])[0])


@pytest.mark.parametrize(
    "long",
    [
        "the quick brown fox jumps over the lazy dog " * 5_000,
        "a" * 200_000 + " and an end",
        " \n" * 100_000 + "an end",
        "数据库向量" * 10_000,
        "a.b,c-" * 10_000,
        "word " * 253 + "x" * 100_000 + " end",
    ],
    ids=["words", "one word", "spaces", "chinese", "punctuation", "a word at the end"],
)
def test_a_long_text_is_cut_before_it_is_tokenised(long: str) -> None:
    loaded = encoder.shared_encoder(ONNXMiniLM_L6_V2()._request())
    tokenizer = loaded._tokenizer
    lengths = []

    class Counting:
        def encode(self, text: str) -> Any:
            lengths.append(len(text))
            return tokenizer.encode(text)

    loaded._tokenizer = Counting()
    try:
        tokens = loaded._tokenize(long)
    finally:
        loaded._tokenizer = tokenizer
    assert tokens.tolist() == tokenizer.encode(long).ids
    assert sum(lengths) < 20_000


_PIECES = [
    *"ab .,\t\n数İΣ\u0301\u200b\x00",
    "word ",
    "naïve ",
    "x" * 120,
    " " * 900,
    "é" * 90,
    "y" * 1_500,
]


@settings(max_examples=20)
@given(st.lists(st.sampled_from(_PIECES), max_size=30), st.integers(1, 60))
def test_cutting_a_text_changes_no_token(pieces: list[str], repeats: int) -> None:
    loaded = encoder.shared_encoder(ONNXMiniLM_L6_V2()._request())
    mixed = ("".join(pieces) * repeats)[:30_000]
    assert loaded._tokenize(mixed).tolist() == loaded._tokenizer.encode(mixed).ids
