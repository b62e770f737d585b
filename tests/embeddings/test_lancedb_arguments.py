"""LanceDB's arguments of `create`, as its classes declare them.

`lancedb.json` has the fields of LanceDB's classes; `tools/lancedb_fields.py` reads them from its
package. A test of the clients compares them with the package that `make clients` installs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings import get_registry
from pgchroma.embeddings.providers.bedrock import AmazonBedrockEmbeddingFunction
from pgchroma.embeddings.providers.open_clip import OpenCLIPEmbeddingFunction

FIELDS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "lancedb.json").read_text(encoding="utf-8")
)

VALUES: dict[str, Any] = {
    "dim": 256, "base_url": "http://localhost:9/v1", "default_headers": {"x-a": "b"},
    "organization": "org", "api_key": "$var:lancedb_test_key", "keep_alive": "10m",
    "options": {"num_ctx": 1024}, "ollama_client_kwargs": {"timeout": 7}, "name": "a-model",
    "host": "http://localhost:9",
}  # fmt: skip


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "COHERE", "GEMINI", "AZURE_OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    get_registry().set_var("lancedb_test_key", "key")
    for module in ("open_clip", "bedrock"):
        monkeypatch.setattr(
            f"pgchroma.embeddings.providers.{module}.check_installed",
            lambda *_, **__: None,
            raising=False,
        )


@pytest.mark.filterwarnings("ignore:Direct api_key")
@pytest.mark.parametrize("alias", FIELDS)
def test_every_field_of_lancedbs_is_an_argument(alias: str) -> None:
    for field, default in FIELDS[alias].items():
        if field in ("assumed_role", "profile_name", "role_session_name"):
            continue  # they request a session from AWS
        value = VALUES.get(field, default)
        get_registry().get(alias).create(**{field: value})


def test_arguments_of_openai_are_mapped() -> None:
    made = get_registry().get("openai").create(
        name="text-embedding-3-small", base_url="http://localhost:9/v1", dim=256, organization="o"
    )  # fmt: skip
    config = made.get_config()
    assert config["model_name"] == "text-embedding-3-small"
    assert (config["api_base"], config["dimensions"]) == ("http://localhost:9/v1", 256)
    assert (config["organization_id"], made.ndims()) == ("o", 256)


def test_azure_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-02-01")
    made = get_registry().get("openai").create(name="text-embedding-3-small", use_azure=True)
    assert made._address() == (
        "https://mine.openai.azure.com/openai/deployments/text-embedding-3-small"
        "/embeddings?api-version=2024-02-01"
    )


def test_arguments_of_ollama_are_mapped_and_sent() -> None:
    made = get_registry().get("ollama").create(
        name="bge-m3", host="http://gpu:11434", options={"num_ctx": 1}, keep_alive="5m"
    )  # fmt: skip
    assert made._address() == "http://gpu:11434/api/embed"
    assert made._body(["a"], "document") == {
        "model": "bge-m3", "input": ["a"], "options": {"num_ctx": 1}, "keep_alive": "5m",
    }  # fmt: skip
    assert made.build_from_config(made.get_config()).get_config() == made.get_config()
    plain = get_registry().get("ollama").create(name="bge-m3")
    assert plain.get_config().keys() == {"url", "model_name", "timeout"}
    with pytest.raises(TypeError, match="ollama_client_kwargs: expected only timeout, got verify"):
        get_registry().get("ollama").create(ollama_client_kwargs={"verify": False})


def test_arguments_of_cohere_and_gemini_say_what_is_embedded_for() -> None:
    cohere = get_registry().get("cohere").create(
        source_input_type="classification", query_input_type="clustering"
    )  # fmt: skip
    assert cohere._body(["a"], "document")["input_type"] == "classification"
    assert cohere._body(["a"], "query")["input_type"] == "clustering"
    gemini = get_registry().get("gemini-text").create(
        dim=256, source_task_type="retrieval_document", query_task_type="retrieval_query"
    )  # fmt: skip
    (stored,) = gemini._body(["a"], "document")["requests"]
    (asked,) = gemini._body(["a"], "query")["requests"]
    assert (stored["taskType"], asked["taskType"]) == ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY")
    assert gemini.build_from_config(gemini.get_config()).query_task_type == "retrieval_query"


def test_arguments_of_open_clip_and_bedrock_are_mapped() -> None:
    clip = OpenCLIPEmbeddingFunction.create(pretrained="openai", normalize=False)
    assert (clip.checkpoint, clip.get_config()["normalize"]) == ("openai", False)
    bedrock = AmazonBedrockEmbeddingFunction.create(region="eu-central-1")
    assert bedrock.get_config()["session_args"] == {"region_name": "eu-central-1"}
    with pytest.raises(ValueError, match="query_input_type: expected search_query for Bedrock"):
        AmazonBedrockEmbeddingFunction.create(query_input_type="clustering")


def test_variables_stand_for_settings() -> None:
    registry = get_registry()
    registry.set_var("lancedb_test_model", "text-embedding-3-large")
    assert registry.get_var("lancedb_test_model") == "text-embedding-3-large"
    made = registry.get("openai").create(name="$var:lancedb_test_model", dim=8)
    assert made.model_name == "text-embedding-3-large"
    made = registry.get("ollama").create(host="$var:lancedb_no_such:http://a:1")
    assert made.url == "http://a:1"
    with pytest.raises(ValueError, match="name: the variable 'lancedb_no_such' is not set"):
        registry.get("openai").create(name="$var:lancedb_no_such")
    with pytest.raises(ValueError, match="cannot contain colons"):
        registry.set_var("a:b", "c")
    with pytest.raises(KeyError):
        registry.get_var("lancedb_no_such")
    assert np.isfinite(made.options.timeout)
