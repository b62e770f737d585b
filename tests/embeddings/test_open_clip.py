"""OpenCLIP with its real code, on a small model with random weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings import (
    config_to_embedding_function,
    embedding_function_to_config,
    register_embedding_function,
)
from pgchroma.embeddings.providers import local
from pgchroma.embeddings.providers.open_clip import OpenCLIPEmbeddingFunction
from pgchroma.errors import EmbeddingError
from tests.embeddings.models import TINY_CLIP, need_open_clip, register_tiny_clip

pytestmark = pytest.mark.filterwarnings("default")

Clip = OpenCLIPEmbeddingFunction


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(register_tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture
def clip(weights: str) -> OpenCLIPEmbeddingFunction:
    return OpenCLIPEmbeddingFunction(TINY_CLIP, weights)


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_hand(weights: str, given: Any) -> np.ndarray[Any, Any]:
    """OpenCLIP's embedding of one text or image, computed as its manual shows."""
    open_clip = need_open_clip()
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    model, _, prepare = open_clip.create_model_and_transforms(TINY_CLIP, pretrained=weights)
    with torch.no_grad():
        if isinstance(given, str):
            vector = model.encode_text(open_clip.get_tokenizer(TINY_CLIP)([given]))
        else:
            vector = model.encode_image(prepare(Image.fromarray(given)).unsqueeze(0))
        return np.asarray((vector / vector.norm(dim=-1, keepdim=True)).numpy()[0])


@pytest.mark.heavy
def test_texts_and_images_in_one_list_come_in_their_order(clip: Clip, weights: str) -> None:
    given: list[Any] = ["a ship", picture(1), "", picture(2, 33, 90)]
    given += ["Zwölf Möwen 🚢", "word " * 5_000]
    made = clip(given)
    assert {each.dtype for each in made} == {np.dtype(np.float32)}
    assert clip.ndims() == 16
    for vector, each in zip(made, given, strict=True):
        np.testing.assert_allclose(vector, by_hand(weights, each), rtol=0, atol=1e-5)


def test_batches_of_any_size_give_the_same(weights: str) -> None:
    given: list[Any] = [text for n in range(10) for text in (f"text {n}", picture(n))]
    one = np.array(Clip(TINY_CLIP, weights)(given))
    created = Clip.create(name=TINY_CLIP, pretrained=weights, batch_size=3, progress=False)
    np.testing.assert_allclose(np.array(created(given)), one, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.array(created.embed_query(given)), one, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int64, np.uint64, np.float64, np.float32], ids=lambda t: t.__name__
)
def test_an_image_may_be_of_any_numbers(clip: Clip, dtype: Any) -> None:
    np.testing.assert_allclose(
        clip([picture(3).astype(dtype)]), clip([picture(3)]), rtol=0, atol=1e-6
    )


def test_grey_images_and_those_with_transparency_are_images(clip: Clip) -> None:
    grey = picture(4)[:, :, 0]
    as_colour = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    opaque = np.concatenate([picture(4), np.full((40, 60, 1), 255, np.uint8)], axis=2)
    made = clip([grey, grey[:, :, np.newaxis], as_colour, opaque, picture(4)])
    np.testing.assert_allclose(made[0], made[2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(made[1], made[2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(made[3], made[4], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("a", "to be a list, got str"),
        (None, "to be a list, got NoneType"),
        (["a", None], "got NoneType at position 1"),
        (["a", 3], "got int at position 1"),
        ([np.zeros(3)], r"got shape \[3\] at position 0"),
        ([np.zeros((2, 2, 5))], r"got shape \[2, 2, 5\] at position 0"),
        ([np.zeros((0, 2, 3))], r"got shape \[0, 2, 3\] at position 0"),
        (["a", np.full((2, 2), 256)], "0 to 255, got other int64 at position 1"),
        ([np.full((2, 2), -1)], "0 to 255, got other int64 at position 0"),
        ([np.full((2, 2), 0.5)], "0 to 255, got other float64 at position 0"),
        ([np.full((2, 2), np.nan)], "0 to 255, got other float64 at position 0"),
        ([np.array([["a"]])], "0 to 255, got other <U1 at position 0"),
    ],
)
def test_what_is_neither_text_nor_image_is_refused(clip: Clip, inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip(inputs)


def test_sources_may_be_paths_addresses_bytes_and_images(clip: Clip, tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    path = tmp_path / "a picture.PNG"
    image = Image.fromarray(picture(5))
    image.save(path)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    sources = [str(path), path, path.as_uri(), buffer.getvalue(), image, picture(5)]
    made = clip.compute_source_embeddings(sources)
    (expected,) = clip([picture(5)])
    for vector in made:
        np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6)
    for query in (path, image, picture(5), buffer.getvalue()):
        (found,) = clip.compute_query_embeddings(query)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    (text,) = clip(["a ship"])
    for embed in (clip.compute_source_embeddings, clip.compute_query_embeddings):
        np.testing.assert_allclose(embed("a ship")[0], text, rtol=0, atol=1e-6)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        clip.compute_source_embeddings([str(tmp_path / "none.png")])
    with pytest.raises(OSError, match="cannot identify"):
        clip.compute_source_embeddings([b"no image"])
    with pytest.raises(EmbeddingError, match=r"http://127\.0\.0\.1:1/a did not return an image"):
        clip.compute_source_embeddings(["http://127.0.0.1:1/a"])


def test_a_document_that_looks_like_a_path_is_a_text(clip: Clip, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.png")
    np.testing.assert_allclose(
        clip.generate_embeddings([missing]), clip([missing]), rtol=0, atol=1e-6
    )
    assert len(clip.compute_query_embeddings(missing)) == 1


def test_embeddings_are_kept_by_what_the_image_shows(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(TINY_CLIP, weights).with_options(cache=tmp_path / "cache")
    given: list[Any] = [picture(6), "a", picture(7)]
    first = clip(given)
    batches: list[int] = []
    embed = Clip.embed_with

    def counted(self: Clip, model: Any, batch: list[Any], purpose: Any) -> object:
        batches.append(len(batch))
        return embed(self, model, batch, purpose)

    monkeypatch.setattr(Clip, "embed_with", counted)
    again = clip([*given[::-1], picture(8)])
    np.testing.assert_array_equal(again[:3], first[::-1])
    assert batches == [1]


def test_it_can_be_built_again_from_its_configuration(clip: Clip, weights: str) -> None:
    register_embedding_function(Clip)
    stored = json.loads(json.dumps(embedding_function_to_config(clip)))
    assert stored == {
        "type": "known",
        "name": "open_clip",
        "config": {"model_name": TINY_CLIP, "checkpoint": weights, "device": "cpu"},
    }
    again = config_to_embedding_function(stored, is_trusted=True)
    np.testing.assert_array_equal(again(["a"]), clip(["a"]))


def test_neither_the_model_nor_its_weights_may_change(clip: Clip) -> None:
    old = clip.get_config()
    clip.validate_config_update(old, {**old, "device": "cuda"})
    with pytest.raises(ValueError, match="The model name cannot be changed"):
        clip.validate_config_update(old, {**old, "model_name": "ViT-B-32"})
    with pytest.raises(ValueError, match="The checkpoint cannot be changed"):
        clip.validate_config_update(old, {**old, "checkpoint": "openai"})


def test_functions_of_the_same_weights_share_a_model(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_loaded_models", local.ModelCache())
    Clip(TINY_CLIP, weights)(["a"])
    Clip(TINY_CLIP, weights)(["b"])
    assert len(local._loaded_models._models) == 1


def test_a_model_or_weights_that_are_not_there_are_named(weights: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"open_clip could not load 'no-such-model'"):
        Clip("no-such-model", weights)(["a"])
    with pytest.raises(EmbeddingError, match=r"open_clip could not load 'tiny-clip'.*none\.pt"):
        Clip(TINY_CLIP, str(tmp_path / "none.pt"))(["a"])
