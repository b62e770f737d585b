"""OpenAI, and the providers with its protocol."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction
from pgchroma.embeddings.providers.mistral import MistralEmbeddingFunction
from pgchroma.embeddings.providers.morph import MorphEmbeddingFunction
from pgchroma.embeddings.providers.openai import OpenAIEmbeddingFunction
from pgchroma.embeddings.providers.perplexity import PerplexityEmbeddingFunction
from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.serving import Answer
from tests.embeddings.providers.text_providers import Serve, bodies_of

pytestmark = pytest.mark.usefixtures("keys")


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
    assert bodies_of(provider, "model", "dimensions") == [(model, sent)]


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
    assert bodies_of(provider, "model", "encoding_format") == [("morph-embedding-v2", encoding)]
    assert len(made[0]) == 3


def test_baseten_is_openai_at_a_deployment(serve: Serve) -> None:
    provider = serve(BasetenEmbeddingFunction)
    function = BasetenEmbeddingFunction.create(api_base=f"{provider.url}/sync/v1")
    function(["a"])
    assert provider.requests[0].path == "/sync/v1/embeddings"
    assert bodies_of(provider, "model") == [("baseten-embedding-model",)]
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
    assert bodies_of(provider, "dimensions", "encoding_format") == [(128, "base64_int8")]
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
    assert bodies_of(provider, "input_type", "truncation") == [(input_type, False)] * 2


def test_mistral_takes_few_bytes_at_a_time(serve: Serve) -> None:
    provider = serve(MistralEmbeddingFunction)
    MistralEmbeddingFunction("mistral-embed").with_options(progress=False)(["x" * 15_000] * 4)
    assert [len(request.body["input"]) for request in provider.requests] == [2, 2]
