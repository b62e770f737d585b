"""The other providers of text embeddings, and rules of all of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from pgchroma.embeddings import config_to_embedding_function
from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction
from pgchroma.embeddings.providers.chroma_cloud_qwen import ChromaCloudQwenEmbeddingFunction
from pgchroma.embeddings.providers.cloudflare_workers_ai import CloudflareWorkersAIEmbeddingFunction
from pgchroma.embeddings.providers.cohere import CohereEmbeddingFunction
from pgchroma.embeddings.providers.huggingface import (
    HuggingFaceEmbeddingFunction,
    HuggingFaceEmbeddingServer,
)
from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction
from pgchroma.embeddings.providers.nomic import NomicEmbeddingFunction
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.serving import Answer
from tests.embeddings.providers.text_providers import CASES, QWEN, Serve, bodies_of

pytestmark = pytest.mark.usefixtures("keys")


def test_hugging_faces_models_are_in_its_path(serve: Serve) -> None:
    provider = serve(HuggingFaceEmbeddingFunction)
    HuggingFaceEmbeddingFunction(model_name="me/my model")(["a"])
    assert provider.requests[0].path == "/me/my%20model/pipeline/feature-extraction"


def test_a_model_of_tokens_is_told(serve: Serve) -> None:
    serve(HuggingFaceEmbeddingFunction, lambda request: Answer([[[1.0, 2.0], [3.0, 4.0]]]))
    with pytest.raises(EmbeddingError, match="returned no embeddings"):
        HuggingFaceEmbeddingFunction()(["a"])


def test_a_server_of_ones_own_needs_no_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = serve(HuggingFaceEmbeddingServer)
    monkeypatch.delenv("HUGGINGFACE_API_KEY")
    url = f"{provider.url}/embed"
    function = HuggingFaceEmbeddingServer(url)
    function(["a"])
    assert "authorization" not in provider.requests[0].headers
    assert provider.requests[0].path == "/embed"
    assert function.get_config() == {"url": url, "api_key_env_var": None}
    monkeypatch.setenv("TEI_KEY", KEY)
    HuggingFaceEmbeddingServer(url, api_key_env_var="TEI_KEY")(["a"])
    assert provider.requests[1].headers["authorization"] == f"Bearer {KEY}"
    assert HuggingFaceEmbeddingServer(url, "UNSET").get_config()["api_key_env_var"] == "UNSET"
    with pytest.raises(ValueError, match="url cannot be changed"):
        function.validate_config_update(function.get_config(), {"url": "http://other.example"})


def test_nomics_queries_have_a_task_of_their_own(serve: Serve) -> None:
    provider = serve(NomicEmbeddingFunction)
    for config in ({"task_type": "search_query"}, None):
        function = NomicEmbeddingFunction("nomic-embed-text-v1.5", "search_document", config)
        function(["a"])
        function.embed_query(["a"])
    assert bodies_of(provider, "task_type") == [
        ("search_document",),
        ("search_query",),
        ("search_document",),
        ("search_document",),
    ]


@pytest.mark.parametrize(
    ("gateway", "path"),
    [
        (None, "/an%20account/ai/run/@cf/baai/bge-m3"),
        ("gate", "/an%20account/gate/workers-ai/@cf/baai/bge-m3"),
    ],
)
def test_cloudflare_is_reached_through_a_gateway(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, gateway: str | None, path: str
) -> None:
    provider = serve(CloudflareWorkersAIEmbeddingFunction)
    if gateway is not None:
        monkeypatch.setattr(CloudflareWorkersAIEmbeddingFunction, "gateway", provider.url)
        monkeypatch.setattr(CloudflareWorkersAIEmbeddingFunction, "endpoint", "http://127.0.0.1:1")
    function = CloudflareWorkersAIEmbeddingFunction(
        "@cf/baai/bge-m3", "an account", gateway_id=gateway
    )
    function(["a"])
    assert provider.requests[0].path == path


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("account_id", ".."),
        ("account_id", ""),
        ("gateway_id", "."),
        ("model_name", "@cf/../../secrets"),
        ("model_name", "@cf//x"),
    ],
)
def test_what_would_lead_elsewhere_is_refused(setting: str, value: str) -> None:
    given = {"model_name": "@cf/baai/bge-m3", "account_id": "a", setting: value}
    with pytest.raises(ValueError, match=f"{setting}: expected a part of a URL"):
        CloudflareWorkersAIEmbeddingFunction(**given)


def test_what_stands_in_a_path_is_quoted(serve: Serve) -> None:
    provider = serve(CloudflareWorkersAIEmbeddingFunction)
    CloudflareWorkersAIEmbeddingFunction("m?x=1#y", "a/b")(["a"])
    assert provider.requests[0].path == "/a%2Fb/ai/run/m%3Fx%3D1%23y"


@pytest.mark.parametrize("suffix", ["", "/", "/api/embeddings"])
def test_ollama_is_found_where_it_was(serve: Serve, suffix: str) -> None:
    provider = serve(OllamaEmbeddingFunction)
    function = OllamaEmbeddingFunction(f"{provider.url}{suffix}", "all-minilm")
    function(["a"])
    assert provider.requests[0].path == "/api/embed"
    assert provider.requests[0].body == {"model": "all-minilm", "input": ["a"]}
    assert function.get_config()["url"] == f"{provider.url}{suffix}"


def test_a_host_alone_names_an_ollama_server(serve: Serve) -> None:
    provider = serve(OllamaEmbeddingFunction)
    OllamaEmbeddingFunction(provider.url.removeprefix("http://"))(["a"])
    assert len(provider.requests) == 1
    assert OllamaEmbeddingFunction("gpu")._address() == "http://gpu:11434/api/embed"


def test_ollamas_timeout_is_a_setting_and_an_option(serve: Serve) -> None:
    provider = serve(OllamaEmbeddingFunction)
    function = OllamaEmbeddingFunction(provider.url, timeout=5)
    assert function.options.timeout == 5
    assert function.get_config()["timeout"] == 5
    assert OllamaEmbeddingFunction.create(timeout=7).get_config()["timeout"] == 7
    assert function.with_options(timeout=0.5).options.timeout == 0.5
    with pytest.raises(ValueError, match="timeout: expected more than 0, got 0"):
        OllamaEmbeddingFunction(timeout=0)


@pytest.mark.parametrize(
    ("task", "told"),
    [("nl_to_code", ["", "Given a question about coding"]), (None, ["", ""]), ("x", ["", ""])],
)
def test_qwen_is_told_by_task_and_target(serve: Serve, task: str | None, told: list[str]) -> None:
    provider = serve(ChromaCloudQwenEmbeddingFunction)
    function = ChromaCloudQwenEmbeddingFunction.create(task=task)
    function(["a"])
    function.embed_query(["a"])
    for request, beginning in zip(provider.requests, told, strict=True):
        assert request.body["instructions"].startswith(beginning)
        assert bool(request.body["instructions"]) == bool(beginning)
        assert request.headers["x-chroma-token"] == KEY
        assert request.headers["x-chroma-embedding-model"] == QWEN


def test_qwen_is_where_the_environment_says(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = serve(ChromaCloudQwenEmbeddingFunction)
    monkeypatch.setattr(ChromaCloudQwenEmbeddingFunction, "endpoint", "http://127.0.0.1:1")
    monkeypatch.setenv("CHROMA_EMBED_URL", f"{provider.url}/here/")
    own = {"legal": {"documents": "Read.", "query": "Ask."}}
    ChromaCloudQwenEmbeddingFunction(QWEN, "legal", own).embed_query(["a"])  # type: ignore[arg-type]
    assert provider.requests[0].path == "/here"
    assert provider.requests[0].body["instructions"] == "Ask."
    monkeypatch.setenv("CHROMA_EMBED_URL", "file:///etc/passwd")
    with pytest.raises(ValueError, match="CHROMA_EMBED_URL must be a URL"):
        ChromaCloudQwenEmbeddingFunction.create(task=None)


def test_qwen_has_one_model() -> None:
    with pytest.raises(ValueError, match="Qwen/Qwen9"):
        ChromaCloudQwenEmbeddingFunction.create(name="Qwen/Qwen9", task=None)


# All of them


@pytest.fixture(params=CASES.values(), ids=lambda case: case.name)
def function(request: pytest.FixtureRequest) -> BatchedEmbeddingFunction[Any]:
    case = request.param
    made: BatchedEmbeddingFunction[Any] = case.function(**case.settings("http://127.0.0.1:1"))
    return made


def test_another_model_is_refused_and_the_same_is_not(
    function: BatchedEmbeddingFunction[Any],
) -> None:
    config = function.get_config()
    function.validate_config_update(config, config)
    key = {"huggingface_server": "url", "baseten": "model_name"}.get(function.name())
    key = key or ("model" if "model" in config else "model_name")
    with pytest.raises(ValueError, match="cannot be changed after"):
        function.validate_config_update(config, {**config, key: "another"})


def test_angles_are_what_counts(function: BatchedEmbeddingFunction[Any]) -> None:
    assert function.default_space() == "cosine"
    assert function.supported_spaces() == ["cosine", "l2", "ip"]


def test_null_stands_for_what_is_taken_by_default(
    function: BatchedEmbeddingFunction[Any],
) -> None:
    config = function.get_config()
    sparse = {key: None for key in config if key.startswith(("api_key", "timeout"))}
    assert type(function).build_from_config({**config, **sparse}).get_config() == config


def test_a_setting_that_is_unknown_is_refused(function: BatchedEmbeddingFunction[Any]) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        type(function).build_from_config({**function.get_config(), "nonsense": 1})


def test_only_an_address_needs_the_readers_trust(function: BatchedEmbeddingFunction[Any]) -> None:
    stored: dict[str, Any] = {"name": function.name(), "config": function.get_config()}
    if {"url", "api_base"} & stored["config"].keys() and "127.0.0.1" in str(stored):
        with pytest.raises(ValueError, match="does not apply by default"):
            config_to_embedding_function(stored)
    else:
        again = config_to_embedding_function(stored)
        assert again.get_config() == stored["config"]


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org", "http://", "http://a:b/", "/embed", None]
)
@pytest.mark.parametrize(
    "make",
    [
        HuggingFaceEmbeddingServer,
        lambda url: MorphEmbeddingFunction(api_base=url),
        lambda url: OpenAIEmbeddingFunction(api_base=url or "x"),
        lambda url: BasetenEmbeddingFunction(None, url or "x"),
        lambda url: OllamaEmbeddingFunction(f"{url}://x"),
    ],
)
def test_what_is_no_url_is_refused(make: Callable[[Any], object], url: Any) -> None:
    with pytest.raises(ValueError, match="must be a URL that begins with http"):
        make(url)


def test_a_login_in_a_url_is_used_and_not_stored(serve: Serve) -> None:
    provider = serve(OllamaEmbeddingFunction)
    host = provider.url.removeprefix("http://")
    function = OllamaEmbeddingFunction(f"http://me:hidden@{host}")
    function(["a"])
    assert provider.requests[0].headers["authorization"].startswith("Basic ")
    assert function.get_config()["url"] == provider.url
    with pytest.raises(ValueError, match="must be a URL") as caught:
        HuggingFaceEmbeddingServer(f"ftp://me:hidden@{host}")
    assert "hidden" not in str(caught.value)


# Keys


def test_a_key_given_works_and_is_not_remembered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = serve(CohereEmbeddingFunction)
    monkeypatch.delenv("COHERE_API_KEY")
    with pytest.warns(DeprecationWarning, match="will not be persisted") as caught:
        function = CohereEmbeddingFunction(api_key="other-secret")
    assert caught[0].filename == __file__
    function(["a"])
    assert provider.requests[0].headers["authorization"] == "Bearer other-secret"
    assert function.get_config() == {
        "api_key_env_var": "CHROMA_COHERE_API_KEY",
        "model_name": "large",
    }
    assert "other-secret" not in json.dumps([repr(function), repr(vars(function))])


def test_the_vendors_own_variable_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "mine")
    function = VoyageAIEmbeddingFunction(api_key_env_var="MINE")
    assert function.api_key_env_var == "VOYAGE_API_KEY"
    monkeypatch.delenv("VOYAGE_API_KEY")
    assert VoyageAIEmbeddingFunction(api_key_env_var="MINE").api_key_env_var == "MINE"
    with pytest.raises(ValueError, match="CHROMA_VOYAGE_API_KEY environment variable is not set"):
        VoyageAIEmbeddingFunction()


def test_a_key_from_a_file_may_end_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_FILE", "abc\n")
    assert ApiKey(None, "FROM_FILE").get_secret() == "abc"


@pytest.mark.parametrize("key", ["a\nb", "ключ", "a\x7f"])
def test_what_can_be_no_key_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD", key)
    with pytest.raises(ValueError, match="BAD: expected an API key") as caught:
        ApiKey(None, "BAD")
    assert key not in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(ValueError, match="api_key: expected an API key"):
            ApiKey(key, "BAD")
