"""Images and texts at Roboflow; for the rest see the contract."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgchroma.embeddings.providers.roboflow import RoboflowEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.providers.cases import KEY
from tests.embeddings.providers.serving import Answer, Provider, Request, serving, vector_of


def _seen(image: dict[str, str]) -> Any:
    assert image["type"] == "base64"
    with Image.open(BytesIO(base64.b64decode(image["value"]))) as opened:
        assert opened.format == "JPEG"
        assert opened.mode == "RGB"
        return np.array(opened)


def _speaks(request: Request) -> Answer:
    assert request.body["api_key"] == KEY
    if request.path == "/clip/embed_text":
        return Answer({"embeddings": [vector_of(text) for text in request.body["text"]]})
    assert request.path == "/clip/embed_image"
    images = [_seen(image) for image in request.body["image"]]
    return Answer({"embeddings": [[*image.shape[:2], image.mean()] for image in images]})


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(_speaks) as provider:
        yield provider


@pytest.fixture
def function(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> RoboflowEmbeddingFunction:
    monkeypatch.delenv("ROBOFLOW_API_KEY", raising=False)
    monkeypatch.setenv("CHROMA_ROBOFLOW_API_KEY", KEY)
    made = RoboflowEmbeddingFunction(api_url=f"{provider.url}/")
    return made.with_options(initial_wait=0.01, max_retries=1, progress=False)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, np.float64])
def test_images_are_sent_whatever_their_form(
    function: RoboflowEmbeddingFunction, shape: tuple[int, ...], dtype: Any
) -> None:
    (made,) = function([np.full(shape, 100, dtype=dtype)])
    assert made.dtype == np.float32
    assert made[:2].tolist() == [4, 6]
    assert made[2] == pytest.approx(100, abs=2)


def test_texts_and_images_of_one_call_keep_their_order(
    function: RoboflowEmbeddingFunction, provider: Provider
) -> None:
    image = np.full((2, 3, 3), 200, dtype=np.uint8)
    given: list[Any] = ["a", image, "b", image]
    made = function(given)
    assert np.array_equal(made[::2], [vector_of("a"), vector_of("b")])
    assert [each[:2].tolist() for each in made[1::2]] == [[2, 3], [2, 3]]
    assert sorted(request.path for request in provider.requests) == [
        "/clip/embed_image", "/clip/embed_text",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "image",
    [
        np.zeros(3, dtype=np.uint8),
        np.zeros((2, 2, 7), dtype=np.uint8),
        np.zeros((0, 2), dtype=np.uint8),
        np.full((2, 2), 0.5),
        np.full((2, 2), np.nan),
        np.full((2, 2), 256),
        np.full((2, 2), -1),
    ],
    ids=lambda image: f"{image.shape}-{image.dtype}",
)
def test_what_is_no_image_is_refused(
    function: RoboflowEmbeddingFunction, provider: Provider, image: Any
) -> None:
    with pytest.raises(ValueError, match=r"image.*position 1"):
        function(["a", image])
    assert not provider.requests


def test_a_missing_image_is_told(function: RoboflowEmbeddingFunction, provider: Provider) -> None:
    provider.first = [Answer({"embeddings": [[1.0, 2.0, 3.0]]})]
    with pytest.raises(EmbeddingError, match="1 embeddings for 2 inputs"):
        image: Any = np.zeros((2, 2), dtype=np.uint8)
        function([image] * 2)


def test_a_refusal_that_repeats_the_request_does_not_show_the_key(
    function: RoboflowEmbeddingFunction, provider: Provider
) -> None:
    provider.first = [Answer({"detail": [{"input": {"api_key": KEY}}]}, status=422)]
    with pytest.raises(EmbeddingError, match="422") as caught:
        function(["a"])
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    provider.first = [Answer({"echo": KEY})]
    with pytest.raises(EmbeddingError) as caught:
        function(["a"])
    assert KEY not in str(caught.value)


def test_the_server_may_change() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOFLOW_API_KEY", KEY)
        function = RoboflowEmbeddingFunction()
    old = {"api_url": "https://infer.roboflow.com", "api_key_env_var": "ROBOFLOW_API_KEY"}
    assert function.get_config() == old
    function.validate_config_update(old, {**old, "api_url": "http://localhost:9001"})
    assert function.default_space() == "cosine"
