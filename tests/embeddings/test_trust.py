"""A stored configuration decides over models and numbers, not over addresses, keys and code."""

from __future__ import annotations

import sys
import warnings
from base64 import b64encode
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
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
from pgchroma.embeddings.protocol import Documents, EmbeddingFunction
from pgchroma.embeddings.registry import known_embedding_functions, register_embedding_function
from pgchroma.embeddings.sparse.registry import config_to_sparse_embedding_function
from pgchroma.utils.embedding_functions import HuggingFaceEmbeddingServer, OpenAIEmbeddingFunction
from tests.embeddings.providers.openai_cases import CASES
from tests.embeddings.providers.serving import serving

KEY = "OPENAI_API_KEY"

HARMLESS = [
    ("openai", {"model_name": "text-embedding-3-small", "api_key_env_var": "OPENAI_API_KEY"}),
    ("openai", {"api_key_env_var": "CHROMA_OPENAI_API_KEY", "api_base": None, "dimensions": 3}),
    ("ollama", {"url": "http://localhost:11434", "model_name": "m", "timeout": 60}),
    ("sentence_transformer", {"model_name": "a/b", "kwargs": {"trust_remote_code": False}}),
    ("sentence_transformer", {"model_name": "a/b", "revision": "main", "truncate_dim": 64}),
    ("sentence_transformer", {"kwargs": {"prompts": {"query": "/search ", "text": "~ .. "}}}),
    ("instructor", {"model_name": "a/b.c", "instruction": "../ is a prefix"}),
    ("amazon_bedrock", {"model_name": "arn:aws:bedrock:eu:1:inference-profile/x", "kwargs": {}}),
    ("amazon_bedrock", {"model_name": "m", "session_args": {"region_name": "eu"}, "kwargs": {}}),
    ("bm25", {"k": 1.2, "language": "english", "task": "query", "kwargs": {}}),
    ("open_clip", {"model_name": "ViT-B-32", "checkpoint": "laion2b_s34b_b79k"}),
    ("ollama", {"model_name": "library/m:8b"}),
]
REACHING: list[tuple[str, dict[str, Any], str]] = [
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
    # With this setting torch.load runs code from a pickle.
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
    # Arguments that a constructor passes on, inside `kwargs` or beside it.
    ("sentence_transformer", {"model_name": "m", "backend": "onnx"}, "backend"),
    ("sentence_transformer", {"kwargs": {"backend": "onnx"}}, "kwargs.backend"),
    ("sentence_transformer", {"modules": ["os.system"]}, "modules"),
    ("sentence_transformer", {"model_kwargs": {"revision": "main"}}, "model_kwargs"),
    ("sentence_transformer", {"model_kwargs": [["weights_only", False]]}, "model_kwargs"),
    ("sentence_transformer", {"config_kwargs": None}, "config_kwargs"),
    ("huggingface_sparse", {"model_name": "m", "device": "cpu", "backend": "onnx"}, "backend"),
    ("fastembed_sparse", {"model_name": "m", "providers": ["x"]}, "providers"),
    ("bm25", {"lazy": True}, "lazy"),
    ("amazon_bedrock", {"model_name": "m", "use_ssl": False}, "use_ssl"),
    ("amazon_bedrock", {"model_name": "m", "config": {"a": 1}}, "config"),
    # A configuration on the hub can name a tokenizer and have its code run.
    ("open_clip", {"model_name": "hf-hub:theirs/model"}, "model_name"),
    ("open_clip", {"model_name": "local-dir:uploads"}, "model_name"),
    ("onnx_mini_lm_l6_v2", {"model_path": "uploads"}, "model_path"),
    ("bm25", {"specific_model_path": "uploads"}, "specific_model_path"),
    ("bm25", {"language": "../../uploads/x"}, "language"),
]

DIRECTORIES = [
    "/srv/uploads", "//host/share", r"\\host\share", r"\\?\C:\uploads", "C:/uploads", "c:uploads",
    r"uploads\model", "~/uploads", "~root", ".", "..", "...", " .. ", ". .", "./uploads",
    "../uploads", "uploads/..", "uploads/../x", "uploads/.../x", "uploads/. /x", "file:/srv",
    "file:uploads",
]  # fmt: skip
LOCAL = [
    ("sentence_transformer", "model_name"),
    ("huggingface_sparse", "model_name"),
    ("instructor", "model_name"),
    ("transformers", "model_name"),
    ("text2vec", "model_name"),
    ("fastembed_sparse", "model_name"),
    ("open_clip", "checkpoint"),
    ("open_clip", "model_name"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-one")


def build(name: str, config: dict[str, Any]) -> object:
    stored = {"name": name, "config": config}
    if name in known_embedding_functions:
        return config_to_embedding_function(stored)
    return config_to_sparse_embedding_function(stored)


@pytest.mark.parametrize(("name", "config", "path"), REACHING)
def test_what_reaches_out_is_refused(name: str, config: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=rf"stored configuration of {name} sets {path}.* to"):
        build(name, config)


@pytest.mark.parametrize("directory", DIRECTORIES)
@pytest.mark.parametrize(("name", "setting"), LOCAL)
def test_a_directory_is_refused_by_its_form(name: str, setting: str, directory: str) -> None:
    with pytest.raises(ValueError, match=rf"stored configuration of {name} sets {setting} to"):
        build(name, {setting: directory})


@pytest.mark.parametrize(
    "directory", ["uploads", "theirs/model", "all-MiniLM-L6-v2", "sentence-transformers/m"]
)
def test_a_directory_is_refused_because_it_is_there(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / directory).mkdir(parents=True)
    name = directory.removeprefix("sentence-transformers/")
    config = {"name": "sentence_transformer", "config": {"model_name": name}}
    with pytest.raises(ValueError, match="stored configuration of sentence_transformer"):
        config_to_embedding_function(config)


def test_a_directory_does_not_matter_to_a_provider_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text-embedding-3-small").mkdir()
    config = {"model_name": "text-embedding-3-small", "api_key_env_var": KEY}
    made = config_to_embedding_function({"name": "openai", "config": config})
    assert made.get_config()["model_name"] == "text-embedding-3-small"


def test_the_code_in_a_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is a stand-in for the versions that import what a directory names."""
    ran: list[str] = []
    package = ModuleType("sentence_transformers")
    package.SentenceTransformer = lambda name, **_: ran.append(name)  # type: ignore[attr-defined]
    package.__spec__ = ModuleSpec("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    for name in (str(tmp_path), f"{tmp_path}/", "."):
        config = {"name": "sentence_transformer", "config": {"model_name": name}}
        with pytest.raises(ValueError, match="stored configuration"):
            config_to_embedding_function(config)(["a"])
    assert ran == []


class Passing(EmbeddingFunction[Documents]):
    """A user's own function that passes arguments on."""

    def __init__(self, size: int = 1, **kwargs: Any) -> None:
        self.kwargs = kwargs

    def __call__(self, input: Documents) -> Any:
        return [[1.0] for _ in input]

    @staticmethod
    def name() -> str:
        return "trust-passing"

    def get_config(self) -> dict[str, Any]:
        return {"size": 1, **self.kwargs}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Passing:
        return Passing(**config)


def test_what_a_users_own_function_passes_on_is_judged() -> None:
    register_embedding_function(Passing)
    made = config_to_embedding_function({"name": "trust-passing", "config": {"size": 2}})
    assert isinstance(made, Passing)
    config = {"name": "trust-passing", "config": {"size": 2, "backend": "onnx"}}
    with pytest.raises(ValueError, match="trust-passing sets backend to 'onnx'"):
        config_to_embedding_function(config)
    trusted = config_to_embedding_function(config, is_trusted=True)
    assert isinstance(trusted, Passing)
    assert trusted.kwargs == {"backend": "onnx"}


def test_imagebind_calls_nothing_but_models() -> None:
    for name in ("ImageBindModel", "nn.Module", "os", "__loader__"):
        with pytest.raises(ValueError, match="expected a name that begins with imagebind_"):
            config_to_embedding_function({"name": "imagebind", "config": {"model_name": name}})


@pytest.mark.parametrize(("name", "config"), HARMLESS)
def test_what_does_not_is_followed(name: str, config: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            build(name, config)
        except ValueError as error:
            # A key or a package may be missing here.
            assert "stored configuration" not in str(error)


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
def test_how_it_is_called_is_not_for_who_stored_it_to_say(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"name": "trust-lengths", "config": {option: "made"}}
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
    assert made._key.get_secret() == "sk-one"


def test_a_name_may_be_anything() -> None:
    malformed: tuple[Any, ...] = (["openai"], {}, 5, None)
    for name in malformed:
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
