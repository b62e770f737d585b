"""Our configurations and Chroma's own, of the same functions."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import Any

import pytest

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction
from pgchroma.embeddings.providers.baseten import BasetenEmbeddingFunction
from pgchroma.embeddings.providers.chroma_cloud_qwen import (
    ChromaCloudQwenEmbeddingFunction,
    ChromaCloudQwenEmbeddingModel,
)
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
from pgchroma.embeddings.providers.together_ai import TogetherAIEmbeddingFunction
from pgchroma.embeddings.providers.voyageai import VoyageAIEmbeddingFunction
from tests.third_party.test_unmodified import PYTHON, installed

QWEN = ChromaCloudQwenEmbeddingModel.QWEN3_EMBEDDING_0p6B


@dataclass(frozen=True)
class Same:
    """A function that both create from the same arguments and the same keys in the environment."""

    function: type[BatchedEmbeddingFunction[Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()


# Where two variables are set, the vendor's counts.
SAME = [
    Same(BasetenEmbeddingFunction, {"api_key": None, "api_base": "https://b.example/v1"},
         ("CHROMA_BASETEN_API_KEY",)),
    Same(BasetenEmbeddingFunction, {"api_key": None, "api_base": "https://b.example/v1"},
         ("CHROMA_BASETEN_API_KEY", "BASETEN_API_KEY")),
    Same(ChromaCloudQwenEmbeddingFunction, {"model": QWEN, "task": "nl_to_code"},
         ("CHROMA_API_KEY",)),
    Same(ChromaCloudQwenEmbeddingFunction,
         {"model": QWEN, "task": "nl_to_code", "api_key_env_var": "MINE"}, ("MINE",)),
    Same(CloudflareWorkersAIEmbeddingFunction,
         {"model_name": "@cf/baai/bge-m3", "account_id": "0a"}, ("CHROMA_CLOUDFLARE_API_KEY",)),
    Same(CloudflareWorkersAIEmbeddingFunction,
         {"model_name": "@cf/baai/bge-m3", "account_id": "0a", "gateway_id": "g"},
         ("CHROMA_CLOUDFLARE_API_KEY", "CLOUDFLARE_API_KEY")),
    Same(CohereEmbeddingFunction, {}, ("CHROMA_COHERE_API_KEY",)),
    Same(CohereEmbeddingFunction, {"model_name": "embed-multilingual-v2.0"}, ("COHERE_API_KEY",)),
    Same(CohereEmbeddingFunction, {"model_name": "embed-english-v2.0"}, ("COHERE_API_KEY",)),
    Same(HuggingFaceEmbeddingFunction, {}, ("CHROMA_HUGGINGFACE_API_KEY",)),
    Same(HuggingFaceEmbeddingFunction, {"model_name": "BAAI/bge-m3"}, ("HUGGINGFACE_API_KEY",)),
    Same(HuggingFaceEmbeddingServer, {"url": "http://h.example/embed"}),
    Same(HuggingFaceEmbeddingServer, {"url": "http://h.example", "api_key_env_var": "MINE"}),
    Same(HuggingFaceEmbeddingServer, {"url": "http://h.example", "api_key_env_var": "MINE"},
         ("HUGGINGFACE_API_KEY",)),
    Same(JinaEmbeddingFunction, {}, ("CHROMA_JINA_API_KEY",)),
    Same(JinaEmbeddingFunction,
         {"task": "t", "late_chunking": True, "truncate": False, "dimensions": 64,
          "embedding_type": "float", "normalized": True, "query_config": {"task": "q"}},
         ("CHROMA_JINA_API_KEY", "JINA_API_KEY")),
    Same(MistralEmbeddingFunction, {"model": "mistral-embed"}, ("MISTRAL_API_KEY",)),
    Same(MorphEmbeddingFunction, {}, ("MORPH_API_KEY",)),
    Same(MorphEmbeddingFunction, {"encoding_format": "base64", "api_key_env_var": "MINE"},
         ("MINE", "MORPH_API_KEY")),
    Same(NomicEmbeddingFunction,
         {"model": "m", "task_type": "search_document", "query_config": None}, ("NOMIC_API_KEY",)),
    Same(NomicEmbeddingFunction,
         {"model": "m", "task_type": "a", "query_config": {"task_type": "b"}}, ("NOMIC_API_KEY",)),
    Same(OllamaEmbeddingFunction),
    Same(OllamaEmbeddingFunction,
         {"url": "http://o.example:1/api/embeddings", "model_name": "m", "timeout": 3}),
    Same(OpenAIEmbeddingFunction, {}, ("CHROMA_OPENAI_API_KEY",)),
    Same(OpenAIEmbeddingFunction,
         {"model_name": "text-embedding-3-small", "organization_id": "o", "dimensions": 9,
          "api_base": "https://a.example", "api_type": "azure", "api_version": "1",
          "deployment_id": "d", "default_headers": {"X-Team": "t"}},
         ("OPENAI_API_KEY",)),
    Same(PerplexityEmbeddingFunction, {}, ("PERPLEXITY_API_KEY",)),
    Same(PerplexityEmbeddingFunction, {"dimensions": 128, "api_key_env_var": "MINE"}, ("MINE",)),
    Same(TogetherAIEmbeddingFunction, {"model_name": "m"}, ("CHROMA_TOGETHER_AI_API_KEY",)),
    Same(TogetherAIEmbeddingFunction, {"model_name": "m"}, ("TOGETHER_API_KEY",)),
    Same(VoyageAIEmbeddingFunction, {}, ("CHROMA_VOYAGE_API_KEY",)),
    Same(VoyageAIEmbeddingFunction, {"input_type": "query", "truncation": False},
         ("CHROMA_VOYAGE_API_KEY", "VOYAGE_API_KEY")),
]  # fmt: skip

KEYS = {
    name
    for same in SAME
    for name in (*same.variables, getattr(same.function, "vendor_env_var", None))
    if name is not None
}

CHROMAS = r"""
import inspect, json, os, sys
from unittest.mock import MagicMock

# A vendor's package that is not there makes no difference to a configuration.
for package in ("cohere", "mistralai", "nomic", "voyageai", "perplexity", "ollama"):
    sys.modules.setdefault(package, MagicMock())

from chromadb.utils.embedding_functions import known_embedding_functions
from chromadb.utils.embedding_functions.chroma_cloud_qwen_embedding_function import (
    ChromaCloudQwenEmbeddingModel,
)
from chromadb.utils.embedding_functions.schemas import validate_config_schema

def told(asked):
    os.environ.update({name: "key" for name in asked["variables"]})
    try:
        function = known_embedding_functions[asked["name"]]
        settings = dict(asked["settings"])
        if asked["name"] == "chroma-cloud-qwen":
            settings["model"] = ChromaCloudQwenEmbeddingModel(settings["model"])
        theirs = function(**settings)
        validate_config_schema(asked["config"], asked["name"])
        return {
            "config": theirs.get_config(),
            "again": function.build_from_config(asked["config"]).get_config(),
            "space": theirs.default_space(),
            "spaces": theirs.supported_spaces(),
            "parameters": [
                [each.name, each.default is each.empty]
                for each in inspect.signature(function).parameters.values()
            ],
            "defaults": {
                each.name: each.default
                for each in inspect.signature(function).parameters.values()
                if isinstance(each.default, (str, int, type(None)))
            },
        }
    finally:
        for name in asked["variables"]:
            del os.environ[name]

print(json.dumps([told(asked) for asked in json.load(sys.stdin)]))
"""


def _ours(same: Same) -> BatchedEmbeddingFunction[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name in KEYS:
            patch.delenv(name, raising=False)
        for name in same.variables:
            patch.setenv(name, "key")
        return same.function(**same.settings)


@pytest.fixture(scope="module")
def chromas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The output of Chroma's classes, in the order of `SAME`."""
    asked = [
        {
            "name": same.function.name(),
            "settings": same.settings,
            "variables": same.variables,
            "config": _ours(same).get_config(),
        }
        for same in SAME
    ]
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [PYTHON / "bin" / "python", "-W", "ignore", "-c", CHROMAS],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


@installed(PYTHON, "Chroma's clients in Python")
@pytest.mark.parametrize(
    "position", range(len(SAME)), ids=[f"{n}-{same.function.name()}" for n, same in enumerate(SAME)]
)
def test_a_function_is_configured_as_chromas_is(
    position: int, chromas: list[dict[str, Any]]
) -> None:
    same, theirs = SAME[position], chromas[position]
    ours = _ours(same)
    config = ours.get_config()
    expected = theirs["config"]
    if ours.name() == "perplexity":
        # Chroma writes a null here that Chroma's schema refuses.
        expected = {key: value for key, value in expected.items() if value is not None}
    assert config == expected
    assert ours.default_space() == theirs["space"]
    assert ours.supported_spaces() == theirs["spaces"]
    parameters = inspect.signature(same.function).parameters.values()
    taken = [[each.name, each.default is each.empty] for each in parameters]
    # LanceDB's arguments follow Chroma's, and all of them are optional.
    assert theirs["parameters"] == taken[: len(theirs["parameters"])]
    assert not any(is_needed for _, is_needed in taken[len(theirs["parameters"]) :])
    assert theirs["defaults"].items() <= {each.name: each.default for each in parameters}.items()


@installed(PYTHON, "Chroma's clients in Python")
@pytest.mark.parametrize(
    "position", range(len(SAME)), ids=[f"{n}-{same.function.name()}" for n, same in enumerate(SAME)]
)
def test_each_is_built_from_the_others_configuration(
    position: int, chromas: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    same, theirs = SAME[position], chromas[position]
    assert theirs["again"] == theirs["config"]
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    for name in same.variables:
        monkeypatch.setenv(name, "key")
    again = same.function.build_from_config(theirs["config"])
    assert again.get_config() == _ours(same).get_config()
