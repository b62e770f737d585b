"""The examples of Chroma's guides, run with ``import pgchroma as chromadb`` and its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pgchroma as chromadb
from pgchroma import Documents, EmbeddingFunction, Embeddings
from pgchroma.config import Settings
from pgchroma.utils import embedding_functions
from pgchroma.utils.data_loaders import ImageLoader


@pytest.fixture(scope="module")
def collection(module_url: str) -> Any:
    """Chapters and verses, embedded by the default model."""
    with chromadb.PostgresClient(module_url) as client:
        made = client.create_collection(name="my_collection")
        made.add(
            documents=[
                "The lighthouse keeper counts the ships that pass at night",
                "A recipe for plum cake with cinnamon",
                "Write to keeper@example.com about the lamp",
                "keeper@example.com",
            ],
            metadatas=[
                {"chapter": "3", "page": 3, "author": "Rowling", "color": "red"},
                {"chapter": "3", "page": 7, "author": "Herbert", "color": "blue"},
                {"chapter": "29", "page": 11, "author": "Fitzgerald"},
                {"chapter": "20", "page": 12, "author": "Woolf", "color": "green"},
            ],
            ids=["id1", "id2", "id3", "id4"],
        )
        yield made


def test_getting_started_prints_the_documented_distances() -> None:
    client = chromadb.Client()
    collection = client.get_or_create_collection(name="getting_started")
    for _ in range(2):
        collection.upsert(
            documents=[
                "This is a document about pineapple",
                "This is a document about oranges",
            ],
            ids=["id1", "id2"],
        )
    results = collection.query(query_texts=["This is a query document about hawaii"], n_results=2)
    distances = results.pop("distances")  # type: ignore[misc]
    assert distances is not None
    assert np.allclose(distances, [[1.0404009819030762, 1.243080496788025]], atol=1e-4)
    assert results == {
        "documents": [["This is a document about pineapple", "This is a document about oranges"]],
        "ids": [["id1", "id2"]],
        "uris": None,
        "data": None,
        "metadatas": [[None, None]],
        "embeddings": None,
        "included": ["metadatas", "documents", "distances"],
    }
    florida = collection.query(query_texts=["This is a query document about florida"], n_results=2)
    assert florida["ids"] == [["id2", "id1"]]
    client.close()


def test_a_persistent_client_keeps_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "path to save to"
    settings = Settings(anonymized_telemetry=False, allow_reset=True)
    client = chromadb.PersistentClient(path=str(path), settings=settings)
    assert client.heartbeat() > 0
    client.create_collection("kept").add(ids="1", embeddings=[1.0])
    client.close()
    again = chromadb.PersistentClient(path=path, settings=settings)
    assert again.get_collection("kept").count() == 1
    with pytest.raises(ValueError, match=r"already exists for .* with different settings"):
        chromadb.PersistentClient(path=path)
    assert again.reset() is True
    assert again.list_collections() == []
    again.close()


def test_reset_is_off_unless_allowed(client: Any, url: str) -> None:
    with (
        chromadb.PostgresClient(url) as careful,
        pytest.raises(chromadb.errors.ChromaError, match="Reset is disabled by config"),
    ):
        careful.reset()


def test_ephemeral_clients_of_a_process_share_their_data() -> None:
    first, second = chromadb.EphemeralClient(), chromadb.Client()
    first.create_collection("shared")
    assert second.get_collection("shared").count() == 0
    first.close()
    second.delete_collection("shared")
    second.close()


def test_an_admin_client_sees_what_the_clients_see(tmp_path: Path) -> None:
    settings = Settings(is_persistent=True, persist_directory=str(tmp_path / "data"))
    admin = chromadb.AdminClient(settings)
    admin.create_tenant("acme")
    admin.create_database("books", "acme")
    client = chromadb.Client(settings, tenant="acme", database="books")
    assert client.list_collections() == []
    client.close()
    admin.close()


def test_collections_are_made_changed_and_listed(client: Any) -> None:
    emb_fn = embedding_functions.DefaultEmbeddingFunction()
    client.create_collection(
        name="my-collection",
        embedding_function=emb_fn,
        metadata={"description": "my first Chroma collection", "created": "2026-11-21"},
    )
    client.create_collection(
        name="tuned",
        configuration={"hnsw": {"space": "cosine", "ef_construction": 200}},
        embedding_function=emb_fn,
    )
    collection = client.get_collection(name="my-collection")
    collection = client.get_or_create_collection(
        name="my-collection", metadata={"description": "..."}
    )
    assert collection.metadata["description"] == "my first Chroma collection"
    assert [c.name for c in client.list_collections()] == ["my-collection", "tuned"]
    assert [c.name for c in client.list_collections(limit=20, offset=1)] == ["tuned"]
    collection.modify(name="new-name", metadata={"description": "new description"})
    assert client.get_collection(name="new-name").metadata == {"description": "new description"}
    client.delete_collection(name="new-name")
    assert [c.name for c in client.list_collections()] == ["tuned"]


def test_texts_are_found_by_meaning_and_by_filters(collection: Any) -> None:
    results = collection.query(
        query_texts=["boats seen from a tower on the coast", "baking with fruit"], n_results=1
    )
    assert results["ids"] == [["id1"], ["id2"]]
    between = {"$and": [{"page": {"$gte": 5}}, {"page": {"$lte": 11}}]}
    results = collection.query(query_texts=["first query", "second query"], where=between)
    assert [sorted(ids) for ids in results["ids"]] == [["id2", "id3"]] * 2
    got = collection.get(where={"$or": [{"color": "red"}, {"color": "blue"}]})
    assert got["ids"] == ["id1", "id2"]
    got = collection.get(where={"author": {"$in": ["Rowling", "Fitzgerald", "Herbert"]}})
    assert got["ids"] == ["id1", "id2", "id3"]
    got = collection.get(where={"color": {"$nin": ["red", "blue"]}})
    assert got["ids"] == ["id3", "id4"]
    got = collection.get(
        where_document={"$regex": r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"}
    )
    assert got["ids"] == ["id4"]
    either = {"$or": [{"$contains": "plum"}, {"$not_contains": "keeper"}]}
    results = collection.query(query_texts=["a", "b"], where_document=either)
    assert results["ids"] == [["id2"]] * 2
    both = {"$and": [{"$contains": "keeper"}, {"$regex": "[a-z]+ at night"}]}
    results = collection.query(
        query_texts="lamp", n_results=10, where={"chapter": "3"}, where_document=both
    )
    assert results["ids"] == [["id1"]]


def test_columns_are_chosen(collection: Any) -> None:
    assert collection.get(include=["documents"])["metadatas"] is None
    results = collection.query(
        query_texts=["my query"], include=["documents", "metadatas", "embeddings"]
    )
    assert results["distances"] is None
    assert results["embeddings"][0].shape == (4, 384)
    assert len(collection.peek(limit=2)["ids"]) == 2


def test_records_are_updated_upserted_and_deleted(client: Any) -> None:
    collection = client.create_collection("verses")
    collection.add(
        documents=["doc1", "doc2", "doc3"],
        embeddings=[[1.1, 2.3, 3.2], [4.5, 6.9, 4.4], [1.1, 2.3, 3.2]],
        metadatas=[{"chapter": 3, "verse": 16}, {"chapter": 3, "verse": 5}, {"chapter": 29}],
        ids=["id1", "id2", "id3"],
    )
    collection.update(ids=["id1"], embeddings=[[1.1, 2.3, 3.2]], documents=["new doc1"])
    collection.upsert(
        ids=["id3", "id4"],
        embeddings=[[0.1, 0.3, 0.2], [1.5, 1.9, 1.4]],
        metadatas=[{"chapter": 20}, {"chapter": 20}],
        documents=["new doc3", "doc4"],
    )
    collection.delete(ids=["id3", "id4", "id9"], where={"chapter": 20})
    assert collection.get()["documents"] == ["new doc1", "doc2"]


@chromadb.register_embedding_function
class LetterCounts(EmbeddingFunction[Documents]):
    """A model small enough for tests: how often each of some letters occurs."""

    def __init__(self, letters: str = "aeiou") -> None:
        self.letters = letters

    def __call__(self, input: Documents) -> Embeddings:
        return [[text.count(letter) for letter in self.letters] for text in input]  # type: ignore[misc]

    @staticmethod
    def name() -> str:
        return "letter-counts"

    def get_config(self) -> dict[str, Any]:
        return {"letters": self.letters}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> LetterCounts:
        return LetterCounts(config["letters"])

    def default_space(self) -> Any:
        return "cosine"


def test_a_function_of_ones_own_is_remembered_and_built_again(client: Any) -> None:
    made = client.create_collection("letters", embedding_function=LetterCounts("abc"))
    made.add(ids=["1", "2"], documents=["aaa", "bcb"])
    assert made.configuration_json["hnsw"]["space"] == "cosine"
    found = client.get_collection("letters")
    assert found.configuration["embedding_function"].letters == "abc"
    assert found.query(query_texts="bbbb", n_results=1)["ids"] == [["2"]]
    assert found.get(include=["embeddings"])["embeddings"].tolist() == [[3, 0, 0], [0, 2, 1]]
    assert client.list_collections()[0].query(query_texts="a", n_results=1)["ids"] == [["1"]]


def test_two_functions_are_one_too_many(client: Any) -> None:
    other = embedding_functions.ONNXMiniLM_L6_V2()
    with pytest.raises(ValueError, match="Multiple embedding functions provided"):
        client.create_collection(
            "letters",
            configuration={"embedding_function": LetterCounts()},
            embedding_function=other,
        )
    configuration = {"embedding_function": LetterCounts("xyz")}
    made = client.create_collection("letters", configuration=configuration)
    assert set(configuration) == {"embedding_function"}
    assert made.configuration["embedding_function"].letters == "xyz"
    with pytest.raises(ValueError, match="conflict: new: onnx_mini_lm_l6_v2 vs persisted: letter"):
        client.get_collection("letters", embedding_function=other)
    with pytest.raises(ValueError, match="Cannot change the embedding function"):
        made.modify(configuration={"embedding_function": other})
    made.modify(configuration={"embedding_function": LetterCounts("abc")})
    config = client.get_collection("letters").configuration_json["embedding_function"]
    assert config["config"] == {"letters": "abc"}


def test_without_a_function_there_is_nothing_to_embed_with(client: Any) -> None:
    made = client.create_collection("bare", embedding_function=None)
    for collection in (made, client.get_collection("bare")):
        with pytest.raises(ValueError, match="You must provide an embedding function"):
            collection.add(ids="1", documents="text")
        collection.upsert(ids="1", documents="text", embeddings=[1.0])
    given = client.get_collection("bare", embedding_function=LetterCounts("t"))
    assert given.query(query_texts="t")["ids"] == [["1"]]


def test_a_function_that_cannot_be_remembered_has_to_be_given_again(client: Any) -> None:
    class Legacy(EmbeddingFunction[Documents]):
        def __init__(self) -> None:
            pass

        def __call__(self, input: Documents) -> Embeddings:
            return [[float(len(text))] for text in input]  # type: ignore[misc]

    with pytest.warns(DeprecationWarning):
        made = client.create_collection("legacy", embedding_function=Legacy())
    made.add(ids="1", documents="four")
    assert made.configuration_json["embedding_function"] == {"type": "legacy"}
    with pytest.raises(ValueError, match="You must provide an embedding function"):
        client.get_collection("legacy").query(query_texts="four")
    with pytest.warns(DeprecationWarning):
        function = Legacy()
        assert function.name() is NotImplemented
    again = client.get_collection("legacy", embedding_function=function)
    assert again.query(query_texts="four")["distances"] == [[0.0]]


def test_a_function_that_is_not_here_is_named(client: Any, connection: Any) -> None:
    client.create_collection("foreign", embedding_function=LetterCounts())
    connection.execute(
        "update pgchroma.collections set configuration = jsonb_set(configuration, "
        "'{embedding_function,name}', '\"martian\"')"
    )
    foreign = client.get_collection("foreign")
    with pytest.raises(ValueError, match="Embedding function martian not found"):
        foreign.add(ids="1", documents="text")
    foreign.add(ids="1", embeddings=[1.0])


class Pictures(EmbeddingFunction[Any]):
    """Embeds an image by its mean, a text by its length."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Embeddings:
        numbers = [len(item) if isinstance(item, str) else np.mean(item) for item in input]
        return [np.array([number], np.float32) for number in numbers]

    @staticmethod
    def name() -> str:
        return "pictures"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Pictures:
        return Pictures()


def test_images_and_uris_are_stored_and_searched(client: Any, tmp_path: Path) -> None:
    paths = []
    for shade in (10, 200):
        path = tmp_path / f"{shade}.png"
        Image.new("L", (4, 4), shade).save(path)
        paths.append(str(path))
    collection = client.create_collection(
        name="multimodal", embedding_function=Pictures(), data_loader=ImageLoader()
    )
    collection.add(ids=["dark", "light"], uris=paths)
    collection.add(ids=["image"], images=[np.full((2, 2), 100.0)])
    collection.add(ids=["text"], documents=["x" * 150])
    assert collection.query(query_images=[np.full((2, 2), 190.0)], n_results=1)["ids"] == [
        ["light"]
    ]
    assert collection.query(query_uris=[paths[0]], n_results=1)["ids"] == [["dark"]]
    assert collection.query(query_texts=["x" * 149], n_results=1)["ids"] == [["text"]]
    found = collection.query(query_texts=["x" * 10], n_results=1, include=["data"])
    assert found["data"][0][0].shape[:2] == (4, 4)
    assert found["uris"] == [paths[:1]] or found["uris"] is None
    got = collection.get(ids=["light"], include=["data", "uris"])
    assert got["uris"] == [paths[1]]
    assert int(got["data"][0].mean()) == 200
    collection.update(ids=["image"], images=[np.full((2, 2), 55.0)])
    assert collection.query(query_texts=["x" * 55], n_results=1)["ids"] == [["image"]]
