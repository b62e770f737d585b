"""A stored configuration decides over models and numbers, not over addresses, keys and code."""

from __future__ import annotations

from typing import Any

import pytest

import pgchroma
from pgchroma.embeddings import config_to_embedding_function
from pgchroma.utils.embedding_functions import OpenAIEmbeddingFunction
from tests.embeddings.providers.openai_cases import CASES
from tests.embeddings.providers.serving import serving

KEY = "OPENAI_API_KEY"

HARMLESS = [
    ("openai", {"model_name": "text-embedding-3-small", "api_key_env_var": "OPENAI_API_KEY"}),
    ("openai", {"api_key_env_var": "CHROMA_OPENAI_API_KEY", "api_base": None, "dimensions": 3}),
    ("ollama", {"url": "http://localhost:11434", "model_name": "m", "timeout": 60}),
    ("sentence_transformer", {"model_name": "a/b", "kwargs": {"trust_remote_code": False}}),
]
REACHING = [
    ("openai", {"api_base": "https://elsewhere.example"}, "api_base"),
    ("openai", {"api_key_env_var": "AWS_SECRET_ACCESS_KEY"}, "api_key_env_var"),
    ("openai", {"default_headers": {"x": "http://elsewhere.example"}}, "default_headers.x"),
    ("ollama", {"url": "elsewhere.example:11434", "model_name": "m"}, "url"),
    ("huggingface_server", {"url": "http://elsewhere.example"}, "url"),
    ("cloudflare_workers_ai", {"model_name": "m", "gateway_id": "theirs"}, "gateway_id"),
    ("sentence_transformer", {"kwargs": {"trust_remote_code": True}}, "kwargs.trust_remote_code"),
    (
        "sentence_transformer",
        {"kwargs": {"model_kwargs": [{"trust_remote_code": 1}]}},
        "kwargs.model_kwargs.trust_remote_code",
    ),
    ("roboflow", {"api_url": "https://elsewhere.example"}, "api_url"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-one")


@pytest.mark.parametrize(("name", "config", "path"), REACHING)
def test_what_reaches_out_is_refused(name: str, config: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=rf"stored configuration of {name} sets {path} to"):
        config_to_embedding_function({"name": name, "config": config})


@pytest.mark.parametrize(("name", "config"), HARMLESS)
def test_what_does_not_is_followed(name: str, config: dict[str, Any]) -> None:
    try:
        config_to_embedding_function({"name": name, "config": config})
    except ValueError as fault:
        # A key or a package may be missing here.
        assert "stored configuration" not in str(fault)


def test_a_collection_is_followed_only_by_who_says_so(url: str) -> None:
    (case,) = [each for each in CASES if each.function is OpenAIEmbeddingFunction]
    with serving(case.answers) as provider:
        function = OpenAIEmbeddingFunction(api_base=f"{provider.url}/v1")
        with pgchroma.PostgresClient(url) as client:
            made = client.create_collection("papers", embedding_function=function)
            made.add(ids=["a"], documents=["a"])
            asked = len(provider.requests)
            assert asked
            opened = client.get_collection("papers")
            with pytest.raises(ValueError, match="pgchroma_trust_stored_functions"):
                opened.query(query_texts=["a"])
            assert opened.get(ids=["a"])["documents"] == ["a"]
            assert len(provider.requests) == asked
            given = client.get_collection("papers", embedding_function=function)
            assert given.query(query_texts=["a"])["ids"] == [["a"]]
        settings = pgchroma.Settings(pgchroma_trust_stored_functions=True)
        with pgchroma.PostgresClient(url, settings) as client:
            assert client.get_collection("papers").query(query_texts=["a"])["ids"] == [["a"]]
