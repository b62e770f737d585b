"""Calls that are interrupted, and calls of several threads and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.embeddings.providers.ollama import make_function, texts_of, wait_until
from tests.embeddings.providers.serving import Answer, Provider, vector_of

_FILLING = """
import sys
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
url, cache = sys.argv[1:]
function = OllamaEmbeddingFunction(url).with_options(cache=cache, batch_size=5, concurrency=4)
sys.stdin.readline()
for part in range(4):
    made = function([f"text {n}" for n in range(part * 25, part * 25 + 50)])
    assert len(made) == 50
"""


@pytest.mark.heavy
def test_processes_share_a_cache(provider: Provider, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _FILLING, provider.url, str(cache)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    provider.requests.clear()
    texts = [f"text {n}" for n in range(125)]
    made = make_function(provider, cache=cache)(texts)
    assert not provider.requests
    assert np.array_equal(made, [vector_of(text) for text in texts])


_SLOW = """
import sys
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
function = OllamaEmbeddingFunction(sys.argv[1]).with_options(batch_size=1, concurrency=4)
function(sys.argv[2:])
"""


@pytest.mark.heavy
@pytest.mark.parametrize("texts", [["a"], ["a", "b", "c", "d", "e", "f"]])
def test_an_interrupt_is_obeyed_at_once(provider: Provider, texts: list[str]) -> None:
    provider.speaks = lambda request: Answer({}, seconds=20)
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, provider.url, *texts], stderr=subprocess.PIPE
    )
    wait_until(lambda: len(provider.requests) == min(len(texts), 4))
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=15)
    assert time.monotonic() - begin < 5
    assert b"KeyboardInterrupt" in said
    assert process.returncode != 0


def test_threads_may_share_a_function(provider: Provider, tmp_path: Path) -> None:
    function = make_function(provider, batch_size=3, concurrency=4, cache=tmp_path / "cache")
    together = threading.Barrier(8)

    def embed(number: int) -> bool:
        texts = [f"{number % 4} {n}" for n in range(20)]
        together.wait()
        made = function(texts)
        return np.array_equal(made, [vector_of(text) for text in texts])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(embed, range(8)))


_FORKING = """
import os, sys
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
function = OllamaEmbeddingFunction(sys.argv[1]).with_options(max_retries=0)
function(["parent"])
if os.fork() == 0:
    function(["child"])
    os._exit(0)
_, status = os.wait()
assert status == 0, status
function(["parent again"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_connections_of_its_own(provider: Provider) -> None:
    subprocess.run([sys.executable, "-c", _FORKING, provider.url], check=True, timeout=60)
    assert texts_of(provider) == ["parent", "child", "parent again"]
