"""The requests of Google's functions, and their URLs; the contract tests cover the rest."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from pgchroma.embeddings import config_to_embedding_function, register_embedding_function
from pgchroma.embeddings.providers.google import (
    GoogleGeminiEmbeddingFunction,
    GoogleGenaiEmbeddingFunction,
    GoogleGenerativeAiEmbeddingFunction,
    GooglePalmEmbeddingFunction,
    GoogleVertexEmbeddingFunction,
)
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.google_cases import answers_of_gemini, answers_of_vertex
from tests.embeddings.providers.serving import Answer, Provider, serving, vector_of

QUICK = {"initial_wait": 0.01, "max_retries": 1, "progress": False}
VERTEX = "/projects/{}/locations/{}/publishers/google/models/{}:predict"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)


@pytest.fixture
def gemini(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with serving(answers_of_gemini) as provider:
        for each in (GoogleGenerativeAiEmbeddingFunction, GoogleGeminiEmbeddingFunction):
            monkeypatch.setattr(each, "endpoint", provider.url)
        yield provider


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with serving(answers_of_vertex) as provider:
        monkeypatch.setattr(GoogleVertexEmbeddingFunction, "endpoint", provider.url)
        monkeypatch.setattr(GoogleGeminiEmbeddingFunction, "vertex_endpoint", provider.url)
        yield provider


def test_gemini_is_told_the_task_and_the_length(gemini: Provider) -> None:
    function = GoogleGeminiEmbeddingFunction(task_type="CLUSTERING", dimension=256)
    function(["a"])
    function.embed_query(["b"])
    first, second = gemini.requests
    assert first.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert first.headers["x-goog-api-key"] == KEY
    assert first.body == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": "a"}]},
                "taskType": "CLUSTERING",
                "outputDimensionality": 256,
            }
        ]
    }
    assert second.body["requests"][0]["taskType"] == "CLUSTERING"
    assert function.ndims() == 256
    assert len(gemini.requests) == 2


def test_gemini_is_told_neither_unless_asked(gemini: Provider) -> None:
    GoogleGeminiEmbeddingFunction("models/text-embedding-004")(["a"])
    (request,) = gemini.requests
    assert request.path == "/models/text-embedding-004:batchEmbedContents"
    assert request.body["requests"][0].keys() == {"model", "content"}


def test_configurations_are_those_of_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GoogleGeminiEmbeddingFunction().get_config() == {
        "model_name": "gemini-embedding-001",
        "api_key_env_var": "GEMINI_API_KEY",
        "vertexai": None,
        "project": None,
        "location": None,
    }
    assert GoogleGenerativeAiEmbeddingFunction().get_config() == {
        "model_name": "gemini-embedding-001",
        "api_key_env_var": "GEMINI_API_KEY",
        "task_type": "RETRIEVAL_DOCUMENT",
    }
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    assert GooglePalmEmbeddingFunction().get_config() == {
        "model_name": "models/embedding-gecko-001",
        "api_key_env_var": "GOOGLE_API_KEY",
    }
    assert GoogleVertexEmbeddingFunction().get_config() == {
        "model_name": "textembedding-gecko",
        "api_key_env_var": "GOOGLE_API_KEY",
        "project_id": "cloud-large-language-models",
        "region": "us-central1",
    }
    assert GoogleGenaiEmbeddingFunction is GoogleGeminiEmbeddingFunction


@pytest.mark.parametrize("function_class", [
    GoogleGeminiEmbeddingFunction, GoogleGenerativeAiEmbeddingFunction,
])  # fmt: skip
def test_what_decides_about_embeddings_cannot_be_changed(function_class: Any) -> None:
    function = function_class(dimension=256)
    old = function.get_config()
    function.validate_config_update(old, dict(old))
    for key, value in (("model_name", "other"), ("dimension", 128), ("task_type", "CLUSTERING")):
        with pytest.raises(ValueError, match="cannot be changed"):
            function.validate_config_update(old, {**old, key: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("region", "evil.example/x"),
        ("region", "evil.example#"),
        ("region", "us-central1@evil.example"),
        ("region", "us-central1\n"),
        ("region", ""),
        ("region", None),
        ("project_id", "../../other"),
        ("project_id", "a/b"),
        ("project_id", "a?b"),
        ("model_name", "../../../x"),
        ("model_name", "a:predict?x="),
        ("model_name", "models/../x"),
        ("model_name", "gecko\\x"),
    ],
)
def test_a_stored_configuration_cannot_lead_elsewhere(
    setting: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    register_embedding_function(GoogleVertexEmbeddingFunction)
    config = {**GoogleVertexEmbeddingFunction().get_config(), setting: value}
    if value is None:
        arguments: dict[str, Any] = {setting: value}
        with pytest.raises(ValueError, match=f"{setting} is malformed"):
            GoogleVertexEmbeddingFunction(**arguments)
        return
    stored = {"type": "known", "name": "google_vertex", "config": config}
    with pytest.raises(ValueError, match=f"{setting} is malformed"):
        config_to_embedding_function(stored, is_trusted=True)


def test_vertex_is_asked_in_its_region(vertex: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_GOOGLE_VERTEX_API_KEY", "ya29.token")
    function = GoogleVertexEmbeddingFunction(project_id="example.com:my-project")
    made = function([str(n) for n in range(6)])
    assert np.array_equal(made, [vector_of(str(n)) for n in range(6)])
    assert sorted(len(each.body["instances"]) for each in vertex.requests) == [1, 5]
    request = vertex.requests[0]
    assert request.path == VERTEX.format(
        "example.com:my-project", "us-central1", "textembedding-gecko"
    )
    assert request.headers["authorization"] == "Bearer ya29.token"
    assert request.body["parameters"] == {"autoTruncate": True}


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
    ],
)
def test_a_region_has_its_host(region: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    function = GoogleVertexEmbeddingFunction(region=region)
    asked: list[str] = []
    answer = {"predictions": [{"embeddings": {"values": [1.0]}}]}

    def post(url: str, *_: Any) -> Any:
        asked.append(url)
        return answer

    monkeypatch.setattr(function, "post", post)
    function(["a"])
    assert asked[0].startswith(f"https://{host}/v1/projects/cloud-large-language-models/")


@contextmanager
def tokens(answer: Callable[[dict[str, list[str]]], tuple[int, Any]]) -> Iterator[str]:
    """Google's token endpoint on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"])).decode()
            status, body = answer(parse_qs(raw))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def private_key() -> str:
    pytest.importorskip("google.auth")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    written: bytes = key.private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    return written.decode()


@pytest.fixture
def account(
    private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    def use(token_uri: str) -> None:
        path = tmp_path / "account.json"
        path.write_text(json.dumps({
            "type": "service_account",
            "project_id": "accounts-project",
            "private_key_id": "1",
            "private_key": private_key,
            "client_email": "someone@accounts-project.iam.gserviceaccount.com",
            "token_uri": token_uri,
        }))  # fmt: skip
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    return use


def test_tokens_are_fetched_once_with_the_credentials_of_the_machine(
    vertex: Provider, account: Callable[[str], None]
) -> None:
    asked: list[dict[str, list[str]]] = []

    def answer(form: dict[str, list[str]]) -> tuple[int, Any]:
        asked.append(form)
        return 200, {"access_token": "fetched", "expires_in": 3600, "token_type": "Bearer"}

    with tokens(answer) as url:
        account(url)
        function = GoogleGeminiEmbeddingFunction(
            vertexai=True, dimension=3, task_type="CLUSTERING"
        ).with_options(**QUICK, concurrency=4)
        texts = [str(n) for n in range(8)]
        assert np.array_equal(function(texts), [vector_of(text) for text in texts])
    assert len(asked) == 1
    assert asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert len(vertex.requests) == 8  # the model takes one text a call
    request = vertex.requests[0]
    assert request.path == VERTEX.format("accounts-project", "global", "gemini-embedding-001")
    assert request.headers["authorization"] == "Bearer fetched"
    assert "x-goog-api-key" not in request.headers
    assert request.body["parameters"] == {"autoTruncate": True, "outputDimensionality": 3}
    assert request.body["instances"][0]["task_type"] == "CLUSTERING"


def test_what_is_given_counts_before_what_the_credentials_say(
    vertex: Provider, account: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "asia-east1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "environments-project")
    with tokens(lambda form: (200, {"access_token": "fetched", "expires_in": 3600})) as url:
        account(url)
        GoogleGeminiEmbeddingFunction(vertexai=True)(["a"])
        GoogleGeminiEmbeddingFunction(vertexai=True, project="given-project", location="us-east1")(
            ["a"]
        )
        monkeypatch.setenv("CHROMA_GOOGLE_VERTEX_API_KEY", "unused")
        GoogleVertexEmbeddingFunction()(["a"])
    by_environment, given, older = vertex.requests
    model = "gemini-embedding-001"
    assert by_environment.path == VERTEX.format("environments-project", "asia-east1", model)
    assert given.path == VERTEX.format("given-project", "us-east1", model)
    assert older.headers["authorization"] == "Bearer fetched"


def test_refused_credentials_are_told(
    vertex: Provider, account: Callable[[str], None], tmp_path: Path
) -> None:
    with tokens(lambda form: (400, {"error": "invalid_grant"})) as url:
        account(url)
        function = GoogleGeminiEmbeddingFunction(vertexai=True).with_options(**QUICK)
        with pytest.raises(EmbeddingError, match="invalid_grant"):
            function(["a"])
    assert not vertex.requests


def test_missing_credentials_are_told(
    vertex: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("google.auth")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    function = GoogleGeminiEmbeddingFunction(vertexai=True, project="a-project")
    with pytest.raises(EmbeddingError, match="cannot get a token"):
        function.with_options(**QUICK)(["a"])


def test_a_key_or_vertex_is_needed() -> None:
    with pytest.raises(ValueError, match="unless vertexai"):
        GoogleGeminiEmbeddingFunction(api_key_env_var=None)


def test_a_refusal_that_repeats_the_key_does_not_show_it(gemini: Provider) -> None:
    gemini.first = [Answer(f"API key {KEY} not valid", status=400)]
    with pytest.raises(EmbeddingError, match="not valid") as caught:
        GoogleGeminiEmbeddingFunction()(["a"])
    assert KEY not in str(caught.value)
