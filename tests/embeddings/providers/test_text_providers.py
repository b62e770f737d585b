"""What is special of each provider of text embeddings."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
from pgchroma.embeddings.providers.jina import JinaEmbeddingFunction
from pgchroma.embeddings.providers.mistral import MistralEmbeddingFunction
from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction
from pgchroma.embeddings.providers.nomic import NomicEmbeddingFunction
from pgchroma.embeddings.providers.ollama import OllamaEmbeddingFunction
from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from pgchroma.embeddings.providers.perplexity import PerplexityEmbeddingFunction
from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.openai_cases import CASES as OPENAI_CASES
from tests.embeddings.providers.serving import Answer, Provider, Request, serving
from tests.embeddings.providers.text_cases import CASES as TEXT_CASES

CASES = {case.function: case for case in [*OPENAI_CASES, *TEXT_CASES]}
QWEN = "Qwen/Qwen3-Embedding-0.6B"
IMAGE: Any = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

Serve = Callable[..., Provider]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in CASES.values():
        if case.variable is not None:
            monkeypatch.setenv(case.variable, KEY)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Run the provider of a function; one whose address is fixed is sent to it."""
    with ExitStack() as running:

        def start(
            function: type[BatchedEmbeddingFunction[Any]],
            answers: Callable[[Request], Answer] | None = None,
        ) -> Provider:
            case = CASES[function]
            entered: AbstractContextManager[Provider] = serving(answers or case.answers)
            provider = running.enter_context(entered)
            if case.base_url is not None:
                monkeypatch.setattr(function, case.base_url, provider.url)
            return provider

        yield start


def _bodies(provider: Provider, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(request.body.get(key) for key in keys) for request in provider.requests]


# OpenAI and who speaks its protocol


def test_azure_has_urls_and_a_header_of_its_own(serve: Serve) -> None:
    provider = serve(OpenAIEmbeddingFunction)
    function = OpenAIEmbeddingFunction(
        api_base=f"{provider.url}/",
        api_type="azure",
        api_version="2024-02-01",
        deployment_id="my deployment/x",
    )
    function(["a"])
    (request,) = provider.requests
    assert request.path == (
        "/openai/deployments/my%20deployment%2Fx/embeddings?api-version=2024-02-01"
    )
    assert request.headers["api-key"] == KEY
    assert "authorization" not in request.headers


@pytest.mark.parametrize("missing", ["api_version", "deployment_id", "api_base"])
def test_azure_wants_to_know_all(missing: str) -> None:
    given: dict[str, Any] = {
        "api_version": "1",
        "deployment_id": "d",
        "api_base": "https://a.example",
    }
    del given[missing]
    with pytest.raises(ValueError, match=f"{missing} must be specified"):
        OpenAIEmbeddingFunction(api_type="azure", **given)


def test_openai_is_told_the_organisation_and_given_headers(serve: Serve) -> None:
    provider = serve(OpenAIEmbeddingFunction)
    headers = {"X-Team": "search", "X-Api-Token": "hidden"}
    function = OpenAIEmbeddingFunction(
        api_base=f"{provider.url}/v1", organization_id="org-1", default_headers=headers
    )
    function(["a"])
    (request,) = provider.requests
    assert request.path == "/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["openai-organization"] == "org-1"
    assert request.headers["x-team"] == "search"
    assert request.headers["x-api-token"] == "hidden"
    assert function.get_config()["default_headers"] == {"X-Team": "search"}


@pytest.mark.parametrize(
    ("model", "sent"), [("text-embedding-3-large", 256), ("text-embedding-ada-002", None)]
)
def test_openai_is_asked_for_a_length_by_models_that_take_one(
    serve: Serve, model: str, sent: int | None
) -> None:
    provider = serve(OpenAIEmbeddingFunction)
    OpenAIEmbeddingFunction(api_base=provider.url, model_name=model, dimensions=256)(["a"])
    assert _bodies(provider, "model", "dimensions") == [(model, sent)]


def test_digits_do_as_well_as_base64(serve: Serve) -> None:
    provider = serve(
        OpenAIEmbeddingFunction,
        lambda request: Answer({"data": [{"index": 0, "embedding": [0.5, 2]}]}),
    )
    (made,) = OpenAIEmbeddingFunction(api_base=provider.url)(["a"])
    assert made.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    "data",
    [
        [{"embedding": ["a"]}],
        [{"embedding": "no base64!"}],
        [{"embedding": "AAA="}],
        [{"embedding": None}],
        [{"embedding": [[1.0]]}],
        [[1.0]],
        3,
        None,
    ],
)
def test_what_is_no_embedding_is_the_providers_failure(serve: Serve, data: Any) -> None:
    provider = serve(OpenAIEmbeddingFunction, lambda request: Answer({"data": data}))
    with pytest.raises(EmbeddingError):
        OpenAIEmbeddingFunction(api_base=provider.url)(["a"])


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_morph_is_asked_for_the_encoding(serve: Serve, encoding: str) -> None:
    provider = serve(MorphEmbeddingFunction)
    made = MorphEmbeddingFunction(api_base=f"{provider.url}/v1/", encoding_format=encoding)(["a"])
    assert provider.requests[0].path == "/v1/embeddings"
    assert _bodies(provider, "model", "encoding_format") == [("morph-embedding-v2", encoding)]
    assert len(made[0]) == 3


def test_baseten_is_openai_at_a_deployment(serve: Serve) -> None:
    provider = serve(BasetenEmbeddingFunction)
    function = BasetenEmbeddingFunction.create(api_base=f"{provider.url}/sync/v1")
    function(["a"])
    assert provider.requests[0].path == "/sync/v1/embeddings"
    assert _bodies(provider, "model") == [("baseten-embedding-model",)]
    assert function.get_config() == {
        "api_base": f"{provider.url}/sync/v1",
        "api_key_env_var": "BASETEN_API_KEY",
    }
    with pytest.raises(ValueError, match="api_base argument must be provided"):
        BasetenEmbeddingFunction(None, "")


def test_perplexity_answers_bytes(serve: Serve) -> None:
    encoded = base64.b64encode(np.array([-128, 0, 127], dtype=np.int8).tobytes()).decode()
    provider = serve(
        PerplexityEmbeddingFunction,
        lambda request: Answer({"data": [{"index": 0, "embedding": encoded}]}),
    )
    function = PerplexityEmbeddingFunction(dimensions=128)
    (made,) = function(["a"])
    assert made.tolist() == [-128.0, 0.0, 127.0]
    assert made.dtype == np.float32
    assert _bodies(provider, "dimensions", "encoding_format") == [(128, "base64_int8")]
    assert function.get_config()["dimensions"] == 128
    PerplexityEmbeddingFunction()(["a"])
    assert "dimensions" not in provider.requests[1].body


@pytest.mark.parametrize("input_type", [None, "document"])
def test_voyage_embeds_queries_as_documents_as_chroma_does(
    serve: Serve, input_type: str | None
) -> None:
    provider = serve(VoyageAIEmbeddingFunction)
    function = VoyageAIEmbeddingFunction(input_type=input_type, truncation=False)
    function(["a"])
    function.embed_query(["a"])
    assert _bodies(provider, "input_type", "truncation") == [(input_type, False)] * 2


def test_mistral_takes_few_bytes_at_a_time(serve: Serve) -> None:
    provider = serve(MistralEmbeddingFunction)
    MistralEmbeddingFunction("mistral-embed").with_options(progress=False)(["x" * 15_000] * 4)
    assert [len(request.body["input"]) for request in provider.requests] == [2, 2]


# Jina


def test_jina_is_told_what_is_set_and_nothing_else(serve: Serve) -> None:
    provider = serve(JinaEmbeddingFunction)
    JinaEmbeddingFunction()(["a"])
    assert provider.requests[0].body == {"model": "jina-embeddings-v2-base-en", "input": ["a"]}
    wishes: dict[str, Any] = {
        "task": "separation",
        "late_chunking": False,
        "truncate": True,
        "dimensions": 64,
        "embedding_type": "float",
        "normalized": False,
    }
    JinaEmbeddingFunction(**wishes)(["a"])
    sent = provider.requests[1].body
    assert {key: sent[key] for key in wishes} == wishes


def test_jinas_queries_have_settings_of_their_own(serve: Serve) -> None:
    provider = serve(JinaEmbeddingFunction)
    function = JinaEmbeddingFunction(
        task="retrieval.passage", query_config={"task": "retrieval.query", "truncate": True}
    )
    function(["a"])
    function.embed_query(["a"])
    assert _bodies(provider, "task", "truncate") == [
        ("retrieval.passage", None),
        ("retrieval.query", True),
    ]
    plain = JinaEmbeddingFunction(task="retrieval.passage")
    plain.embed_query(["a"])
    assert _bodies(provider, "task")[2] == ("retrieval.passage",)


def test_chunks_of_one_document_stay_together_and_are_not_cached(
    serve: Serve, tmp_path: Any
) -> None:
    provider = serve(JinaEmbeddingFunction)
    function = JinaEmbeddingFunction(late_chunking=True).with_options(
        batch_size=2, cache=tmp_path / "cache"
    )
    chunks = ["a", "b", "a", "c"]
    function(chunks)
    function(["a"])
    assert [request.body["input"] for request in provider.requests] == [chunks, ["a"]]


def test_jina_embeds_texts_and_images_together(serve: Serve) -> None:
    provider = serve(JinaEmbeddingFunction)
    JinaEmbeddingFunction(model_name="jina-clip-v2")([*["a"], IMAGE])
    text, image = provider.requests[0].body["input"]
    assert text == {"text": "a"}
    assert np.array_equal(_decoded(image["image"]), IMAGE)


def test_packed_bits_are_as_long_as_they_are(serve: Serve) -> None:
    serve(
        JinaEmbeddingFunction,
        lambda request: Answer({"data": [{"index": 0, "embedding": [-1] * 16}]}),
    )
    function = JinaEmbeddingFunction(embedding_type="binary", dimensions=128)
    assert function.ndims() == 16


# Cohere


def test_cohere_is_told_what_texts_are_for(serve: Serve) -> None:
    provider = serve(CohereEmbeddingFunction)
    function = CohereEmbeddingFunction(model_name="embed-english-v3.0")
    function(["a"])
    function.embed_query(["a"])
    assert _bodies(provider, "model", "input_type", "texts") == [
        ("embed-english-v3.0", "search_document", ["a"]),
        ("embed-english-v3.0", "search_query", ["a"]),
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_cohere_takes_images_one_by_one(serve: Serve, dtype: Any) -> None:
    provider = serve(
        CohereEmbeddingFunction,
        lambda request: Answer({"embeddings": [[1.0, 2.0]] * len(request.body["images"])}),
    )
    images: list[Any] = [IMAGE.astype(dtype), IMAGE[::-1].astype(dtype)]
    made = CohereEmbeddingFunction(model_name="embed-v4.0").with_options(
        concurrency=1, batch_size=10, progress=False
    )(images)
    assert len(made) == 2
    assert _bodies(provider, "input_type", "texts") == [("image", None)] * 2
    for request, image in zip(provider.requests, images, strict=True):
        (sent,) = request.body["images"]
        head, _, encoded = sent.partition(",")
        assert head == "data:image/png;base64"
        assert np.array_equal(_decoded(encoded), image)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", IMAGE], "Expected either texts or images"),
        ([IMAGE, 3], "int at position 1"),
        ([np.array([1.0, 2.0])], r"shape \[2\] at position 0"),
    ],
)
def test_cohere_refuses_a_mix(inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CohereEmbeddingFunction()(inputs)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(float) * 100, IMAGE.astype(int) - 50, np.zeros((2, 2, 7))]
)
def test_what_is_no_image_is_told(image: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected .* image .* at position 0"):
        CohereEmbeddingFunction()([image])


def test_pillow_is_asked_for_when_it_is_needed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CohereEmbeddingFunction)
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    function = CohereEmbeddingFunction()
    function(["a"])
    with pytest.raises(ValueError, match=r"pgchroma\[images\]"):
        function([IMAGE])


@pytest.mark.parametrize(
    ("model", "default", "supported"),
    [
        ("large", "cosine", ["cosine", "l2", "ip"]),
        ("embed-english-v3.0", "cosine", ["cosine", "l2", "ip"]),
        ("embed-english-v2.0", "cosine", ["cosine"]),
        ("embed-english-light-v2.0", "cosine", ["cosine"]),
        ("embed-multilingual-v2.0", "ip", ["ip"]),
    ],
)
def test_coheres_old_models_have_one_distance(
    model: str, default: str, supported: list[str]
) -> None:
    function = CohereEmbeddingFunction(model_name=model)
    assert function.default_space() == default
    assert function.supported_spaces() == supported


def test_the_registry_takes_coheres_newer_model() -> None:
    assert CohereEmbeddingFunction().model_name == "large"
    assert CohereEmbeddingFunction.create().model_name == "embed-english-v3.0"
    assert CohereEmbeddingFunction.create(name="embed-v4.0").ndims() == 1536


# The others


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
    assert _bodies(provider, "task_type") == [
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


def _decoded(encoded: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.format == "PNG"
        return np.array(image)
