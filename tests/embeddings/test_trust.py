"""A stored configuration decides over models and numbers, not over addresses, keys and code."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

import pgchroma
from pgchroma.embeddings import (
    TextEmbeddingFunction,
    config_to_embedding_function,
    embedding_function_to_config,
    get_registry,
    register,
)
from pgchroma.utils.embedding_functions import HuggingFaceEmbeddingServer, OpenAIEmbeddingFunction
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
        "kwargs.model_kwargs",
    ),
    ("transformers", {"trust_remote_code": {"x": 1}}, "trust_remote_code"),
    ("transformers", {"trust_remote_code": [[]]}, "trust_remote_code"),
    # torch.load runs what is in a pickle then.
    (
        "sentence_transformer",
        {"kwargs": {"model_kwargs": {"weights_only": False}}},
        "kwargs.model_kwargs",
    ),
    ("sentence_transformer", {"kwargs": {"cache_folder": "/tmp"}}, "kwargs.cache_folder"),
    ("openai", {"default_headers": {"Authorization": "Bearer theirs"}}, "default_headers.Author"),
    ("openai", {"default_headers": {"Host": "elsewhere.example"}}, "default_headers.Host"),
    ("openai", {"api_key": "theirs"}, "api_key"),
    ("roboflow", {"api_key": "theirs"}, "api_key"),
    ("amazon_bedrock", {"session_args": {"profile_name": "prod"}}, "session_args.profile_name"),
    ("amazon_bedrock", {"kwargs": {"verify": False}}, "kwargs.verify"),
    ("roboflow", {"api_url": "https://elsewhere.example"}, "api_url"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-one")


@pytest.mark.parametrize(("name", "config", "path"), REACHING)
def test_what_reaches_out_is_refused(name: str, config: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=rf"stored configuration of {name} sets {path}.* to"):
        config_to_embedding_function({"name": name, "config": config})


@pytest.mark.parametrize(("name", "config"), HARMLESS)
def test_what_does_not_is_followed(name: str, config: dict[str, Any]) -> None:
    try:
        config_to_embedding_function({"name": name, "config": config})
    except ValueError as fault:
        # A key or a package may be missing here.
        assert "stored configuration" not in str(fault)


@register("trust-lengths")
class Lengths(TextEmbeddingFunction):
    headers: dict[str, str] = {}  # noqa: RUF012
    api_keys: list[str] = []  # noqa: RUF012
    clientSecret: str = ""
    base_url: str = ""
    token_var: str = ""
    max_tokens: int = 5
    stop_tokens: list[str] = []  # noqa: RUF012

    def generate_embeddings(self, texts: Any) -> Any:
        return [[float(len(text))] for text in texts]

    def ndims(self) -> int:
        return 1


@pytest.mark.parametrize("option", ["cache", "batch_size", "timeout", "max_retries"])
def test_how_it_is_called_is_not_for_who_stored_it_to_say(option: str, tmp_path: Path) -> None:
    config = {"name": "trust-lengths", "config": {option: str(tmp_path / "made")}}
    for is_trusted in (False, True):
        with pytest.raises(ValueError, match=f"trust-lengths has no setting {option}"):
            config_to_embedding_function(config, is_trusted=is_trusted)
    assert not (tmp_path / "made").exists()


def test_a_variable_of_any_name_is_not_followed() -> None:
    config = {"name": "trust-lengths", "config": {"token_var": "AWS_SECRET_ACCESS_KEY"}}
    with pytest.raises(ValueError, match="sets token_var to"):
        config_to_embedding_function(config)


def test_secrets_of_any_name_are_neither_stored_nor_shown() -> None:
    made = (
        get_registry()
        .get("trust-lengths")
        .create(
            headers={"X-Api-Key": "S1", "api-key": "S2", "Authorization": "S3", "x-kind": "shown"},
            api_keys=["S4"],
            base_url="http://u:S5@host/",
            clientSecret="S6",
            stop_tokens=["stop"],
        )
    )
    stored = embedding_function_to_config(made)["config"]
    assert stored["headers"] == {"x-kind": "shown"}
    assert stored["base_url"] == "http://host/"
    assert (stored["max_tokens"], stored["stop_tokens"]) == (5, ["stop"])
    for text in (repr(made), str(stored)):
        assert not [secret for secret in ("S1", "S2", "S3", "S4", "S5", "S6") if secret in text]


def test_a_key_that_was_stored_is_not_used() -> None:
    config = {"api_key": "theirs", "api_key_env_var": "CHROMA_OPENAI_API_KEY"}
    made = OpenAIEmbeddingFunction.build_from_config(config)
    assert made._key is not None
    assert made._key.reveal() == "sk-one"


def test_a_name_may_be_anything() -> None:
    for name in (["openai"], {}, 5, None):
        with pytest.raises(ValueError, match="not found"):
            config_to_embedding_function({"name": name})


def test_a_login_goes_along_as_a_header_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (case,) = [each for each in CASES if each.function is OpenAIEmbeddingFunction]
    caplog.set_level("DEBUG")
    with serving(case.answers) as provider:
        host = provider.url.removeprefix("http://")
        function = OpenAIEmbeddingFunction(api_base=f"http://user:PASSW%40@{host}/v1")
        function(["a"])
    login = b64encode(b"user:PASSW@").decode()
    assert provider.requests[-1].headers["authorization"] == f"Basic {login}"
    assert "PASSW" not in caplog.text
    assert "PASSW" not in str(function.get_config())


def test_a_key_in_a_query_is_refused() -> None:
    with pytest.raises(ValueError, match="url has api_key in its query") as caught:
        HuggingFaceEmbeddingServer(url="http://host/embed?version=1&api_key=SECRET")
    assert "SECRET" not in str(caught.value)


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
