"""BM25's weights are those of the published chromadb, to the bit."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.embeddings.sparse import ChromaBm25EmbeddingFunction, SparseVector
from pgchroma.embeddings.sparse.bm25 import _term
from pgchroma.embeddings.sparse.murmur import murmur3_32
from pgchroma.embeddings.sparse.stopwords import ENGLISH_STOPWORDS
from tests.embeddings.sparse import real_bm25_path

CHROMAS_PYTHON = Path(__file__).parents[3] / ".venv" / "clients" / "bin" / "python"
TEXTS = 1_500

SETTINGS: list[dict[str, Any]] = [
    {},
    {"include_tokens": True},
    {"k": 0.9, "b": 0.4, "avg_doc_length": 17.3, "include_tokens": True},
    {"k": 2, "b": 0, "token_max_length": 5, "stopwords": ["The", "and", "été"]},
    {"k": 0, "b": 1},
    {"b": 1, "avg_doc_length": 3, "token_max_length": 400, "stopwords": []},
]

_WORDS = (
    "running runs ran generously university universal dogs' ponies happily skies dying news the "
    "and isn't should've U.S.A. state-of-the-art snake_case 3.14 C++ naïve skiing inning herring "
    "yes communism arsenal early exceed Ünïcödé İstanbul ǅungla ﬁne ß STRASSE"
)
_ENGLISH = _WORDS.split()
_ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'’-_.,;:!? \t\n",
    "аеиоубвгдежз άέήίό אבגד ابتث हिन्दी ไทย 日本語 한국어",
    "éèêëàâäôöûüçñßæøåİıſﬀﬁǅΣσς²½Ⅷ٣१\u0301\u0307\u200d\u00ad",
    "😀👩\u200d💻🇩🇪\u00a0\u2003\u3000\x1c\x1d\x1f\x85\x00\x0b",
]


def _texts() -> list[str]:
    chosen = random.Random(20)
    found = ["", " ", "the and", "!!!", "_", "word " * 300, "x" * 40, "x" * 41, *_ENGLISH]
    while len(found) < TEXTS:
        words = chosen.choices(_ENGLISH, k=chosen.randrange(6))
        for _ in range(chosen.randrange(12)):
            alphabet = chosen.choice(_ALPHABETS)
            words.append("".join(chosen.choices(alphabet, k=chosen.randrange(1, 14))))
        any_planes = (chr(chosen.randrange(1, 0xD800)) for _ in range(chosen.randrange(4)))
        words.append("".join(any_planes))
        chosen.shuffle(words)
        found.append(chosen.choice((" ", "  ", "-", "")).join(words))
    return found


@pytest.fixture(scope="module")
def published() -> list[Any]:
    if not CHROMAS_PYTHON.exists():
        pytest.skip("the published chromadb is not there; `make clients` installs it")
    stemmer = importlib.util.find_spec("snowballstemmer")
    assert stemmer is not None
    assert stemmer.origin is not None
    asked = [json.dumps({"settings": each, "texts": _texts()}) for each in SETTINGS]
    run = subprocess.run(
        [CHROMAS_PYTHON, real_bm25_path(), str(Path(stemmer.origin).parents[1])],
        input="\n".join(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.heavy
def test_the_words_that_do_not_count_are_the_same(published: list[Any]) -> None:
    assert list(ENGLISH_STOPWORDS) == published[0]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_all_weights_are_the_same(published: list[Any], number: int) -> None:
    function = ChromaBm25EmbeddingFunction(**SETTINGS[number])
    start = 1 + number * (TEXTS + 1)
    config, *vectors = published[start : start + TEXTS + 1]
    assert function.get_config() == config
    for text, vector, made in zip(_texts(), vectors, function(_texts()), strict=True):
        values = [value.hex() for value in made.values]
        # Without words, the published function returns no labels either.
        assert [made.indices, values, made.labels] == vector, text


def test_words_are_counted_hashed_and_labelled() -> None:
    function = ChromaBm25EmbeddingFunction(include_tokens=True)
    (vector,) = function(["The runner runs; Running!"])
    assert sorted(vector.labels or []) == ["run", "runner"]
    assert vector.indices == sorted(abs(murmur3_32(word.encode())) for word in ("run", "runner"))
    weights = dict(zip(vector.labels or [], vector.values, strict=True))
    length = 1 - 0.75 + 0.75 * 3 / 256
    assert weights["run"] == pytest.approx(2 * 2.2 / (2 + 1.2 * length))
    assert weights["runner"] == pytest.approx(2.2 / (1 + 1.2 * length))
    assert function.embed_query(["runs"]) == function(["runs"])


def test_stems_of_one_hash_share_a_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {"one": (7, "one"), "two": (7, "two"), "six": (3, "six")}
    monkeypatch.setattr("pgchroma.embeddings.sparse.bm25._term", terms.get)
    (vector,) = ChromaBm25EmbeddingFunction(include_tokens=True, b=0)(["two one six one"])
    assert vector.indices == [3, 7]
    assert vector.labels == ["six", "two"]
    assert vector.values == pytest.approx([2.2 / 2.2, 3 * 2.2 / 4.2])


@given(st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_the_hash_is_murmurs(data: bytes, seed: int) -> None:
    mmh3 = pytest.importorskip("mmh3")
    assert murmur3_32(data, seed) == mmh3.hash(data, seed)


@pytest.mark.parametrize(
    ("data", "hashed"),
    [(b"", 0), (b"a", 1009084850), (b"aaaa", 2129582471), (b"Hello, world!", -1070186941)],
)
def test_the_hash_has_the_known_values(data: bytes, hashed: int) -> None:
    assert murmur3_32(data) == hashed


def test_threads_do_not_disturb_each_other() -> None:
    texts = [f"generously running ponies {n}ing skies{n} happily{n}" for n in range(500)]
    alone = ChromaBm25EmbeddingFunction(include_tokens=True)(texts)
    _term.cache_clear()
    found: list[list[SparseVector]] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(ChromaBm25EmbeddingFunction(include_tokens=True)(texts))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


def test_settings_may_change_but_none_may_be_made_up() -> None:
    function = ChromaBm25EmbeddingFunction()
    old = function.get_config()
    function.validate_config_update(old, {"k": 2, "stopwords": ["a"]})
    with pytest.raises(ValueError, match="Updating 'model'"):
        function.validate_config_update(old, {"model": "x"})
    assert "stopwords" not in old


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"avg_doc_length": 0}, "avg_doc_length must be more than 0"),
        ({"avg_doc_length": float("nan")}, "avg_doc_length must be more than 0"),
        ({"stopwords": "the"}, "must be a list of words"),
        ({"k": "much"}, "could not convert"),
        ({"k": -1, "b": 0}, "k must be a number from 0 on, got -1"),
        ({"k": float("nan")}, "k must be a number from 0 on, got nan"),
        ({"k": float("inf")}, "k must be a number from 0 on, got inf"),
        ({"b": -0.1}, "b must be from 0 to 1, got -0.1"),
        ({"b": 1.1}, "b must be from 0 to 1, got 1.1"),
        ({"b": float("nan")}, "b must be from 0 to 1, got nan"),
    ],
)
def test_wrong_settings_are_told(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChromaBm25EmbeddingFunction(**settings)


@pytest.mark.parametrize("inputs", ["text", None, [None], ["a", 3], [b"a"], []])
def test_what_is_no_list_of_texts_is_refused(inputs: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        ChromaBm25EmbeddingFunction()(inputs)


def test_any_text_has_a_vector() -> None:
    one, other = ChromaBm25EmbeddingFunction()(["\ud800 lone", "word " * 200_000])
    assert len(one.indices) == 1
    assert len(other.indices) == 1
