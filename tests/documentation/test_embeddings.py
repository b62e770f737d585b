"""The examples of docs/embeddings.md and of Chroma's pages on embeddings run unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pgchroma
from pgchroma.api.types import Documents, EmbeddingFunction, Embeddings
from pgchroma.utils import embedding_functions

ROOT = Path(__file__).resolve().parents[2]


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "embeddings.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    script = "\n".join([*blocks, "print(lengths.get_reembedding())", "client.close()"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": "sk-none"},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    kept, dropped = done.stdout.splitlines()
    assert "dimension=2" in kept
    assert dropped == "None"


class MyEmbeddingFunction(EmbeddingFunction):  # type: ignore[type-arg]
    """A function as in Chroma's older page: its parameter has another name."""

    def __call__(self, texts: Documents) -> Embeddings:
        return [[float(len(text))] for text in texts]  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_function_as_the_older_page_writes_it_is_used(client: Any) -> None:
    made = client.create_collection("mine", embedding_function=MyEmbeddingFunction())
    made.add(ids=["1", "2"], documents=["a", "text"])
    assert made.query(query_texts="four", n_results=1)["ids"] == [["2"]]


@pytest.mark.filterwarnings("ignore:Direct api_key configuration:DeprecationWarning")
def test_the_functions_of_the_older_page_are_made_as_it_makes_them() -> None:
    openai = embedding_functions.OpenAIEmbeddingFunction(
        api_key="YOUR_API_KEY", model_name="text-embedding-ada-002"
    )
    azure = embedding_functions.OpenAIEmbeddingFunction(
        api_key="YOUR_API_KEY",
        api_base="https://mine.openai.azure.com",
        api_type="azure",
        api_version="2024-02-01",
        deployment_id="mine",
        model_name="text-embedding-3-small",
    )
    for function in (openai, azure):
        assert "YOUR_API_KEY" not in f"{function!r} {function.get_config()}"
    cohere = embedding_functions.CohereEmbeddingFunction(
        api_key="YOUR_API_KEY", model_name="multilingual-22-12"
    )
    assert cohere.get_config()["model_name"] == "multilingual-22-12"
    palm = embedding_functions.GooglePalmEmbeddingFunction(api_key="YOUR_API_KEY")
    assert palm.name() == "google_palm"


def test_the_top_level_has_what_functions_are_written_with() -> None:
    for name in ("SparseVector", "SparseEmbeddingFunction", "SparseVectors"):
        assert getattr(pgchroma, name) is getattr(pgchroma.api.types, name)
