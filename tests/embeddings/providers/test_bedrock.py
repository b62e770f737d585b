"""Amazon Bedrock by the real boto3, which is sent to a server on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from pgchroma.embeddings import config_to_embedding_function, embedding_function_to_config
from pgchroma.embeddings.providers.bedrock import AmazonBedrockEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.serving import Answer, Provider, Request, serving, vector_of

boto3 = pytest.importorskip("boto3")

SECRET = "very/secret"
QUICK = {"initial_wait": 0.01, "max_retries": 2, "progress": False}

Make = Callable[..., AmazonBedrockEmbeddingFunction]


def _speaks(request: Request) -> Answer:
    body = request.body
    if "inputText" in body:
        return Answer({"embedding": vector_of(body["inputText"]), "inputTextTokenCount": 1})
    made: Any = [vector_of(text) for text in body["texts"]]
    is_newer = "embed-v4" in request.path
    return Answer({"embeddings": {"float": made} if is_newer else made, "id": "1"})


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(_speaks) as provider:
        yield provider


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def make(provider: Provider) -> Make:
    def build(model: str = "amazon.titan-embed-text-v1", **options: Any) -> Any:
        session = boto3.Session(
            aws_access_key_id="AKIDGIVEN", aws_secret_access_key=SECRET, region_name="eu-west-1"
        )
        function = AmazonBedrockEmbeddingFunction(session, model, endpoint_url=provider.url)
        return function.with_options(**{**QUICK, **options})

    return build


def _is(made: Any, texts: list[str]) -> bool:
    return np.array_equal(np.array(made), np.array([vector_of(text) for text in texts]))


def test_amazons_models_are_asked_text_by_text(provider: Provider, make: Make) -> None:
    texts = ["one", "Zwölf", "", "x" * 100_000]
    made = make(concurrency=4)(texts)
    assert _is(made, texts)
    assert all(each.dtype == np.float32 for each in made)
    assert len(provider.requests) == 4
    request = provider.requests[0]
    assert request.path == "/model/amazon.titan-embed-text-v1/invoke"
    assert request.body.keys() == {"inputText"}
    assert "Credential=AKIDGIVEN/" in request.headers["authorization"]
    assert "/eu-west-1/bedrock/" in request.headers["authorization"]


def test_amazons_models_are_asked_at_the_same_time(provider: Provider, make: Make) -> None:
    provider.speaks = lambda request: Answer(_speaks(request).body, seconds=0.05)
    texts = [str(n) for n in range(16)]
    assert _is(make()(texts), texts)
    assert 1 < provider.most_at_once <= 8


@pytest.mark.parametrize(
    "model",
    [
        "cohere.embed-english-v3",
        "us.cohere.embed-v4:0",
        "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.cohere.embed-v4:0",
    ],
)
def test_coheres_models_are_asked_in_batches_and_told_of_queries(
    provider: Provider, make: Make, model: str
) -> None:
    texts = [str(n) for n in range(100)]
    function = make(model, concurrency=1)
    assert _is(function(texts), texts)
    assert _is(function.embed_query(["a"]), ["a"])
    first, second, query = (request.body for request in provider.requests)
    assert (len(first["texts"]), len(second["texts"])) == (96, 4)
    assert first["input_type"] == "search_document"
    assert query == {"texts": ["a"], "input_type": "search_query"}
    assert unquote(provider.requests[0].path) == f"/model/{model}/invoke"


def test_a_failing_provider_is_asked_again_and_no_oftener(provider: Provider, make: Make) -> None:
    throttled = Answer({"message": "slow down"}, 429, {"x-amzn-errortype": "ThrottlingException"})
    provider.first = [throttled, Answer("<html>", status=503)]
    assert _is(make()(["a"]), ["a"])
    provider.first = [throttled] * 9
    with pytest.raises(EmbeddingError, match=r"429.*ThrottlingException.*slow down"):
        make()(["a"])
    # boto3 would try each of them five times.
    assert len(provider.requests) == 3 + 3


def test_a_wait_that_is_too_long_is_a_failure(provider: Provider, make: Make) -> None:
    provider.first = [Answer({}, 429, {"Retry-After": "3600"})]
    with pytest.raises(EmbeddingError, match="429"):
        make()(["a"])
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_no_reason_to_ask_again(provider: Provider, make: Make, status: int) -> None:
    provider.first = [Answer({"message": "no such model"}, status)]
    with pytest.raises(EmbeddingError, match=f"{status}.*no such model"):
        make()(["a"])
    assert len(provider.requests) == 1


def test_a_provider_that_does_not_answer_is_given_up(provider: Provider, make: Make) -> None:
    provider.first = [Answer({}, seconds=0.4)] * 2
    with pytest.raises(EmbeddingError, match="did not answer"):
        make(timeout=0.1, max_retries=1)(["a"])
    assert len(provider.requests) == 2


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", "3", '"x"', "<html>"])
@pytest.mark.parametrize("model", ["amazon.titan-embed-text-v1", "cohere.embed-english-v3"])
def test_an_answer_of_another_form_is_named(
    provider: Provider, make: Make, model: str, body: str
) -> None:
    provider.first = [Answer(body)]
    with pytest.raises(EmbeddingError):
        make(model)(["a"])


@pytest.mark.parametrize("inputs", ["text", None, [None], ["a", 3], [b"a"]])
def test_what_is_no_list_of_texts_is_refused(provider: Provider, make: Make, inputs: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        make()(inputs)
    assert not provider.requests


def test_it_is_stored_without_secrets_and_built_again(provider: Provider) -> None:
    session = boto3.Session(
        aws_access_key_id="AKIDGIVEN",
        aws_secret_access_key=SECRET,
        aws_session_token=SECRET,
        region_name="eu-west-1",
    )
    function = AmazonBedrockEmbeddingFunction(
        session,
        endpoint_url=provider.url,
        aws_secret_access_key=SECRET,
        aws_access_key_id="AKIDOTHER",
        aws_session_token=SECRET,
        verify=False,
    )
    stored = embedding_function_to_config(function)
    assert stored == {
        "type": "known",
        "name": "amazon_bedrock",
        "config": {
            "model_name": "amazon.titan-embed-text-v1",
            "session_args": {"region_name": "eu-west-1"},
            "kwargs": {"endpoint_url": provider.url},
        },
    }
    for shown in (repr(function), json.dumps(stored)):
        assert SECRET not in shown
        assert "AKID" not in shown
    again = config_to_embedding_function(json.loads(json.dumps(stored)), is_trusted=True)
    assert again.get_config() == function.get_config()
    assert _is(again(["a"]), ["a"])
    assert "Credential=AKIDENVIRONMENT/" in provider.requests[0].headers["authorization"]


def test_a_stored_configuration_brings_no_keys_and_leads_nowhere(provider: Provider) -> None:
    function = AmazonBedrockEmbeddingFunction.build_from_config(
        {
            "model_name": "amazon.titan-embed-text-v1",
            "session_args": {
                "region_name": "eu-west-1",
                "aws_access_key_id": "AKIDTHIEF",
                "aws_secret_access_key": "x",
            },
            "kwargs": {
                "endpoint_url": provider.url,
                "aws_access_key_id": "AKIDTHIEF",
                "aws_secret_access_key": "x",
                "use_ssl": False,
            },
        }
    )
    function(["a"])
    assert "Credential=AKIDENVIRONMENT/" in provider.requests[0].headers["authorization"]
    assert function.kwargs == {"endpoint_url": provider.url}
    for region in ("evil.example/", "evil.example#", "a@evil.example"):
        with pytest.raises(ValueError, match=r"region|endpoint"):
            AmazonBedrockEmbeddingFunction.build_from_config(
                {
                    "model_name": "amazon.titan-embed-text-v1",
                    "session_args": {"region_name": region},
                }
            )
    with pytest.raises(ValueError, match=r"kwargs\.endpoint_url"):
        config_to_embedding_function(
            {
                "name": "amazon_bedrock",
                "config": {"model_name": "m", "kwargs": {"endpoint_url": provider.url}},
            }
        )


def test_a_profile_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile work]\nregion = us-west-2\n")
    function = AmazonBedrockEmbeddingFunction(boto3.Session(profile_name="work"))
    assert function.get_config()["session_args"] == {
        "region_name": "us-west-2",
        "profile_name": "work",
    }


def test_wrong_settings_are_told(make: Make) -> None:
    with pytest.raises(ValueError, match="region"):
        AmazonBedrockEmbeddingFunction(boto3.Session())
    with pytest.raises(ValueError, match="Keyword argument thing"):
        AmazonBedrockEmbeddingFunction(boto3.Session(), thing=object())
    function = make()
    old = function.get_config()
    function.validate_config_update(old, old)
    with pytest.raises(ValueError, match="model name cannot be changed"):
        function.validate_config_update(old, {**old, "model_name": "other"})
    assert function.default_space() == "l2"
    assert function.ndims() == 1536


def test_boto3_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, pgchroma.embeddings.providers.bedrock\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
