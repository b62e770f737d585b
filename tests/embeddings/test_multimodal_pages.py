"""The examples of Chroma's pages about collections of images."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest

from tests.embeddings.models import TINY_CLIP, register_tiny_clip
from tests.embeddings.pictures import image

# The examples of Chroma's documentation, with the imports changed and the ellipses filled in.
PAGE = """
from pgchroma.utils.embedding_functions import OpenCLIPEmbeddingFunction
embedding_function = OpenCLIPEmbeddingFunction()

from pgchroma.utils.data_loaders import ImageLoader
data_loader = ImageLoader()

import pgchroma as chromadb

client = chromadb.Client()

collection = client.create_collection(
    name='multimodal_collection',
    embedding_function=embedding_function,
    data_loader=data_loader)

collection.add(
    ids=['id1', 'id2', 'id3'],
    images=IMAGES # A list of numpy arrays representing images
)

collection.add(
    ids=['id1', 'id2', 'id3'],
    uris=URIS #  A list of strings representing URIs to data
)

collection.add(
    ids=['id4', 'id5', 'id6'],
    documents=["This is a document", "This is another document", "This is a third document"]
)

results = collection.query(
    query_images=IMAGES # A list of numpy arrays representing images
)
by_images = results

results = collection.query(
    query_texts=["This is a query document", "This is another query document"]
)
by_texts = results

results = collection.query(
    query_uris=URIS # A list of strings representing URIs to data
)
by_uris = results

results = collection.query(
    query_images=IMAGES, # # list of numpy arrays representing images
    include=['data']
)

collection.update(
    ids=['id1', 'id2', 'id3'],
    images=IMAGES # A list of numpy arrays representing images
)
"""
"""The newer page; where this has `include` it writes `includes`, which no Chroma takes."""

OLDER_PAGE = """
import pgchroma as chromadb
from pgchroma.utils.data_loaders import ImageLoader
from pgchroma.utils.embedding_functions import OpenCLIPEmbeddingFunction

client = chromadb.Client()

data_loader = ImageLoader()
embedding_function = OpenCLIPEmbeddingFunction()

collection = client.create_collection(
    name='older_collection',
    embedding_function=embedding_function,
    data_loader=data_loader
)

collection.add(
    ids=["id1", "id2"],
    uris=URIS[:2]
)

collection.add(
    ids=["id3", "id4"],
    documents=["This is a document", "This is another document"]
)

results = collection.query(
    query_images=IMAGES, # # list of numpy arrays representing images
    include=['data']
)
"""


@pytest.fixture
def page(
    files: dict[str, str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> dict[str, Any]:
    """The environment of the examples: images, their files, and a small OpenCLIP as the default."""
    from pgchroma.utils.embedding_functions import OpenCLIPEmbeddingFunction  # noqa: PLC0415

    weights = str(register_tiny_clip(tmp_path_factory.mktemp("clip")))
    defaults = (TINY_CLIP, weights, "cpu", True)
    monkeypatch.setattr(OpenCLIPEmbeddingFunction.__init__, "__defaults__", defaults)
    return {"IMAGES": [image(colour) for colour in files], "URIS": list(files.values())}


@pytest.mark.heavy
@pytest.mark.database
@pytest.mark.filterwarnings("default")
def test_chromas_page_runs(page: dict[str, Any]) -> None:
    exec(textwrap.dedent(PAGE), page)
    assert page["collection"].count() == 6
    for answer, queries in (("by_images", 3), ("by_texts", 2), ("by_uris", 3)):
        assert [len(ids) for ids in page[answer]["ids"]] == [6] * queries
    assert [ids[0] for ids in page["by_images"]["ids"]] == ["id1", "id2", "id3"]
    assert page["by_uris"]["ids"] == page["by_images"]["ids"]
    assert all(data is None for found in page["results"]["data"] for data in found)
    page["client"].close()


@pytest.mark.database
@pytest.mark.filterwarnings("default")
def test_chromas_older_page_runs(page: dict[str, Any]) -> None:
    exec(textwrap.dedent(OLDER_PAGE), page)
    first = page["results"]["data"][0]
    assert page["results"]["ids"][0][0] == "id1"
    np.testing.assert_array_equal(first[0], page["IMAGES"][0])
    assert sum(data is None for data in first) == 2
    page["client"].close()
