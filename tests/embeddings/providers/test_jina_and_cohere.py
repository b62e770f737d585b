"""Jina and Cohere, which embed texts and images."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgchroma.embeddings.providers.cohere import CohereEmbeddingFunction
from pgchroma.embeddings.providers.jina import JinaEmbeddingFunction
from tests.embeddings.providers.serving import Answer
from tests.embeddings.providers.text_providers import IMAGE, Serve, bodies_of

pytestmark = pytest.mark.usefixtures("keys")


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
    assert bodies_of(provider, "task", "truncate") == [
        ("retrieval.passage", None),
        ("retrieval.query", True),
    ]
    plain = JinaEmbeddingFunction(task="retrieval.passage")
    plain.embed_query(["a"])
    assert bodies_of(provider, "task")[2] == ("retrieval.passage",)


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


def test_cohere_is_told_what_texts_are_for(serve: Serve) -> None:
    provider = serve(CohereEmbeddingFunction)
    function = CohereEmbeddingFunction(model_name="embed-english-v3.0")
    function(["a"])
    function.embed_query(["a"])
    assert bodies_of(provider, "model", "input_type", "texts") == [
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
    assert bodies_of(provider, "input_type", "texts") == [("image", None)] * 2
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


def _decoded(encoded: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.format == "PNG"
        return np.array(image)
