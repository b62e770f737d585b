"""Collections of texts and images, in every mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgchroma
from pgchroma.embeddings import EmbeddingFunction, register_embedding_function
from pgchroma.utils.data_loaders import ChromaLangchainPassthroughDataLoader, ImageLoader
from tests.conftest import client_modes
from tests.embeddings.pictures import COLOURS, image

EVERYTHING = ["documents", "uris", "embeddings"]


@register_embedding_function
class Colours(EmbeddingFunction[Any]):
    """Embeds an image as its mean colour, and a text as that of the colours it names."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [self._colour(each) for each in input]

    def _colour(self, given: Any) -> Any:
        if isinstance(given, np.ndarray):
            return given.reshape(-1, 3).mean(0)
        named = [colour for word, colour in COLOURS.items() if word in given]
        return np.array([1.0, 1.0, 1.0] if not named else np.sum(named, axis=0))

    @staticmethod
    def name() -> str:
        return "test_colours"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Colours:
        return Colours()


@pytest.fixture
async def collection(mode: Any) -> Any:
    return await mode.create_collection(
        "pictures", embedding_function=Colours(), data_loader=ImageLoader()
    )


async def test_images_are_embedded_and_not_stored(collection: Any) -> None:
    await collection.add(ids=["r", "b"], images=[image("red"), image("blue")])
    got = await collection.get(include=["uris", "documents", "embeddings", "data"])
    assert got["embeddings"].tolist() == [[250, 0, 0], [0, 0, 250]]
    assert (got["documents"], got["uris"], got["data"]) == ([None] * 2, [None] * 2, [None] * 2)


async def test_one_image_may_stand_alone(collection: Any) -> None:
    await collection.add(ids="g", images=image("green"))
    found = await collection.query(query_images=image("green"), n_results=1)
    assert (found["ids"], found["distances"]) == ([["g"]], [[0.0]])


async def test_what_uris_point_at_is_embedded_and_given_back(
    collection: Any, files: dict[str, str]
) -> None:
    await collection.add(ids=list(files), uris=list(files.values()))
    got = await collection.get(include=["uris", "data"])
    assert got["uris"] == list(files.values())
    for colour, data in zip(COLOURS, got["data"], strict=True):
        np.testing.assert_array_equal(data, image(colour))
    found = await collection.query(query_uris=files["blue"], n_results=1, include=["data"])
    assert found["ids"] == [["blue"]]
    assert found["uris"] is None
    np.testing.assert_array_equal(found["data"][0][0], image("blue"))


async def test_texts_images_and_uris_are_searched_by_each_other(
    collection: Any, files: dict[str, str]
) -> None:
    await collection.add(ids="text", documents="something red")
    await collection.add(ids="image", images=[image("green")])
    await collection.add(ids="uri", uris=[files["blue"]])
    for asked, expected in (
        ({"query_texts": ["red", "green", "blue"]}, ["text", "image", "uri"]),
        ({"query_images": [image("blue"), image("red")]}, ["uri", "text"]),
        ({"query_uris": [files["green"], files["red"]]}, ["image", "text"]),
    ):
        found = await collection.query(**asked, n_results=1, include=["distances", "data", "uris"])
        assert found["ids"] == [[id] for id in expected]
        assert all(distances == [0.0] for distances in found["distances"])
        for ids, uris, data in zip(found["ids"], found["uris"], found["data"], strict=True):
            assert (uris == [None]) == (data[0] is None) == (ids != ["uri"])


async def test_data_beside_records_that_have_none(collection: Any, files: dict[str, str]) -> None:
    await collection.add(ids="uri", uris=[files["red"]])
    await collection.add(ids="text", documents="green")
    got = await collection.get(include=["data", "documents"])
    assert [each is None for each in got["data"]] == [False, True]
    assert got["documents"] == [None, "green"]


async def test_a_record_may_come_with_its_embedding_and_uri(
    collection: Any, files: dict[str, str]
) -> None:
    await collection.add(ids="a", embeddings=[[1, 2, 3]], uris=[files["red"]])
    got = await collection.get(include=["embeddings", "data"])
    assert got["embeddings"].tolist() == [[1, 2, 3]]
    np.testing.assert_array_equal(got["data"][0], image("red"))


async def test_a_loader_of_ones_own(mode: Any) -> None:
    asked: list[Sequence[str | None]] = []

    class Painter:
        def __call__(self, uris: Sequence[str | None]) -> list[Any]:
            asked.append(list(uris))
            return [uri and image(uri.removeprefix("paint:")) for uri in uris]

    collection = await mode.create_collection(
        "painted", embedding_function=Colours(), data_loader=Painter()
    )
    await collection.add(ids=["r", "g"], uris=["paint:red", "paint:green"])
    await collection.add(ids="t", documents="blue")
    found = await collection.query(query_uris=["paint:green"], n_results=3, include=["data"])
    assert asked[:2] == [["paint:red", "paint:green"], ["paint:green"]]
    assert found["ids"][0][0] == "g"
    np.testing.assert_array_equal(found["data"][0][0], image("green"))
    again = await mode.get_collection("painted", data_loader=Painter())
    got = await again.get(ids=["r"], include=["data"])
    np.testing.assert_array_equal(got["data"][0], image("red"))


async def test_langchains_functions_open_images_themselves(mode: Any) -> None:
    given: list[Any] = []

    class Passed(EmbeddingFunction[Any]):
        def __init__(self) -> None:
            pass

        def __call__(self, input: Any) -> Any:
            given.append(input)
            return [[1.0, 2.0]] * len(input[1])

    with pytest.warns(DeprecationWarning):
        collection = await mode.create_collection(
            "passed",
            embedding_function=Passed(),
            data_loader=ChromaLangchainPassthroughDataLoader(),
        )
    await collection.add(ids=["a", "b"], uris=["file://a", "file://b"])
    assert given == [("images", ["file://a", "file://b"])]
    assert (await collection.get(include=["data"]))["data"] == ("images", ["file://a", "file://b"])


async def test_without_a_loader_nothing_is_loaded(mode: Any, files: dict[str, str]) -> None:
    collection = await mode.create_collection("plain", embedding_function=Colours())
    for call in (
        collection.add(ids="a", uris=[files["red"]]),
        collection.query(query_uris=[files["red"]]),
        collection.get(include=["data"]),
        collection.query(query_texts="red", include=["data"]),
    ):
        with pytest.raises(ValueError, match="You must set a data loader on the collection"):
            await call
    assert await collection.count() == 0


@pytest.mark.parametrize("given", [[[1.0, 2.0]], ["red.png"], [None], np.zeros(3)])
async def test_an_image_is_an_array_of_rows(collection: Any, given: Any) -> None:
    for call in (
        collection.add(ids="a", images=given),
        collection.upsert(ids="a", images=given),
        collection.update(ids="a", images=given),
        collection.query(query_images=given),
    ):
        with pytest.raises(ValueError, match="Expected image to be a numpy array, got"):
            await call


@pytest.mark.parametrize(
    "columns",
    [
        {"documents": ["red"], "images": [image("red")]},
        {"documents": ["red"], "uris": ["red.png"]},
        {"images": [image("red")], "uris": ["red.png"]},
        {},
    ],
    ids=["text and image", "text and uri", "image and uri", "nothing"],
)
async def test_a_record_is_embedded_from_one_thing_only(
    collection: Any, columns: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="Exactly one of images, uris, documents must be provided"):
        await collection.add(ids="a", **columns)
    queries = {
        f"query_{'texts' if name == 'documents' else name}": column
        for name, column in columns.items()
    }
    with pytest.raises(ValueError, match="one of"):
        await collection.query(**queries)


@client_modes
@pytest.mark.parametrize("method", ["update", "upsert"])
async def test_a_new_image_takes_the_place_of_a_text(collection: Any, method: str) -> None:
    await collection.add(ids=["a", "b"], documents=["red", "green"], metadatas=[{"n": 1}] * 2)
    await getattr(collection, method)(ids="a", images=[image("blue")])
    got = await collection.get(include=[*EVERYTHING, "metadatas"])
    assert got["documents"] == [None, "green"]
    assert got["embeddings"].tolist() == [[0, 0, 250], [0, 250, 0]]
    assert got["metadatas"] == [{"n": 1}, {"n": 1}]


@client_modes
@pytest.mark.parametrize("method", ["update", "upsert"])
async def test_a_new_text_takes_the_place_of_a_uri(
    collection: Any, files: dict[str, str], method: str
) -> None:
    await collection.add(ids=["a", "b"], uris=[files["red"], files["green"]])
    await getattr(collection, method)(ids="a", documents=["blue"])
    got = await collection.get(include=[*EVERYTHING, "data"])
    assert got["documents"] == ["blue", None]
    assert got["uris"] == [None, files["green"]]
    assert got["data"][0] is None
    assert got["embeddings"].tolist() == [[0, 0, 250], [0, 250, 0]]


async def test_a_new_text_leaves_the_uri_beside_a_text(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[[1, 2, 3]], documents="red", uris="https://source")
    await collection.update(ids="a", documents="green")
    got = await collection.get(include=EVERYTHING)
    assert (got["documents"], got["uris"]) == (["green"], ["https://source"])
    assert got["embeddings"].tolist() == [[0, 250, 0]]


async def test_a_new_image_may_come_with_its_uri(collection: Any, files: dict[str, str]) -> None:
    await collection.add(ids="a", uris=[files["red"]])
    with pytest.raises(ValueError, match="Exactly one of"):
        await collection.update(ids="a", documents=["green"], images=[image("green")])
    await collection.update(ids="a", images=[image("green")], uris=[files["green"]])
    got = await collection.get(include=[*EVERYTHING, "data"])
    assert got["uris"] == [files["green"]]
    assert got["embeddings"].tolist() == [[0, 250, 0]]
    np.testing.assert_array_equal(got["data"][0], image("green"))


async def test_a_new_embedding_alone_leaves_text_and_uri(
    collection: Any, files: dict[str, str]
) -> None:
    await collection.add(ids=["a", "b"], embeddings=[[1, 2, 3]] * 2, documents=["red", "green"])
    await collection.add(ids=["c"], uris=[files["red"]])
    await collection.update(ids=["a", "c"], embeddings=[[3, 2, 1]] * 2)
    got = await collection.get(include=EVERYTHING)
    assert got["documents"] == ["red", "green", None]
    assert got["uris"] == [None, None, files["red"]]


async def test_a_missing_file_is_told_and_nothing_stored(
    collection: Any, files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        await collection.add(ids=["a", "b"], uris=[files["red"], str(tmp_path / "none.png")])
    assert await collection.count() == 0


def test_a_collection_is_reopened_with_its_function(client: pgchroma.ClientAPI) -> None:
    client.create_collection("kept", embedding_function=Colours()).add(
        ids="r", images=[image("red")]
    )
    again = client.get_collection("kept")
    assert again.query(query_images=[image("red")])["ids"] == [["r"]]
