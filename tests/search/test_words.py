"""Full-text search in every mode: filters by words, ranks by words, and hybrid search."""

from __future__ import annotations

import math
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import K, Knn, Rrf, Schema, Search, SparseVectorIndexConfig, Text, errors
from pgchroma.client.arguments.configuration import CreateCollectionConfiguration
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import CollectionRef, UpdateRecords
from pgchroma.model.records import RecordBatch
from pgchroma.model.types import Modality
from tests.search.blocks import assert_words_consistent, compact_sparse

ENGLISH: CreateCollectionConfiguration = {"text": {"language": "english"}}
DOCUMENTS = {
    "fox": "The quick brown fox jumps over lazy dogs",
    "run": "Running shoes for runners",
    "cat": "A cat and its fox-like tail",
    "quote": r"It's O'Neil's back\slash 'quoted' word",
    "stop": "the of and",
}


@pytest.fixture
async def collection(mode: Any) -> Any:
    collection = await mode.create_collection(
        "words", configuration=ENGLISH, embedding_function=None
    )
    await collection.add(
        ids=[*DOCUMENTS, "none"],
        documents=[*DOCUMENTS.values(), None],
        embeddings=[[float(n), 0.0] for n in range(len(DOCUMENTS) + 1)],
        metadatas=[{"n": n} for n in range(len(DOCUMENTS) + 1)],
    )
    return collection


MATCHES = {
    "fox": ["fox", "cat"],
    "foxes": ["fox", "cat"],
    "FOX dog": ["fox"],
    "runs": ["run"],
    '"brown fox"': ["fox"],
    '"fox brown"': [],
    "fox -dog": ["cat"],
    "-fox": ["run", "quote", "stop"],
    "dog or shoe": ["fox", "run"],
    "jum*": ["fox"],
    "ju* la* or tai*": ["fox", "cat"],
    "fox -ju*": ["cat"],
    "o'neil": ["quote"],
    "o'nei*": ["quote"],
    "back\\slash": ["quote"],
    "'quoted'": ["quote"],
    "the": [],
    "%": [],
    "zebra": [],
}


@pytest.mark.parametrize("words", MATCHES)
async def test_documents_match_words(collection: Any, words: str) -> None:
    found = await collection.get(where_document={"$matches": words})
    others = await collection.get(where_document={"$not_matches": words})
    assert found["ids"] == MATCHES[words]
    assert sorted(found["ids"] + others["ids"]) == sorted([*DOCUMENTS, "none"])
    searched = await collection.search(Search(where=K.DOCUMENT.matches(words)))
    assert searched["ids"] == [MATCHES[words]]


async def test_a_filter_by_words_combines_with_others(collection: Any) -> None:
    both = {"$and": [{"$matches": "fox"}, {"$not_contains": "tail"}]}
    assert (await collection.get(where_document=both))["ids"] == ["fox"]
    queried = await collection.query(
        query_embeddings=[[0.0, 0.0]], where={"n": {"$gt": 0}}, where_document={"$matches": "fox"}
    )
    assert queried["ids"] == [["cat"]]
    assert (await collection.delete(where_document={"$matches": "fox"}))["deleted"] == 2
    assert (await collection.get(where_document={"$matches": "fox"}))["ids"] == []


async def test_words_rank_documents(collection: Any) -> None:
    found = await collection.search(
        [
            Search(rank=Text("foxes that run"), select=[K.SCORE.name]),
            Search(rank=Text("the"), select=[K.SCORE.name]),
            Search(rank=Text("fox", limit=1)),
            Search(rank=Text("fox", return_rank=True, default=7.0) + 1, select=[K.SCORE.name]),
            Search(where=K("n") > 0, rank=Text("fox fox fox")),
        ]
    )
    assert found["ids"] == [["run", "cat", "fox"], [], ["cat"], ["cat", "fox"], ["cat"]]
    # Six records, of which one has the word, once among three words.
    idf = math.log(1 + (6 - 1 + 0.5) / (1 + 0.5))
    assert found["scores"][0][0] == pytest.approx(
        1 - idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 64)), 1e-6
    )
    assert found["scores"][3] == [1.0, 2.0]


async def test_a_rank_by_words_follows_every_write(collection: Any) -> None:
    async def find(text: str) -> Any:
        return (await collection.search(Search(rank=Text(text))))["ids"][0]

    await collection.update(ids=["run"], documents=["foxes"], embeddings=[[1.0, 1.0]])
    assert await find("fox") == ["run", "cat", "fox"]
    assert await find("shoes") == []
    await collection.update(ids=["run"], metadatas=[{"m": 1}])
    assert await find("fox") == ["run", "cat", "fox"]
    await collection.upsert(
        ids=["fox", "new"], documents=["shoes", "new shoes"], embeddings=[[1.0, 1.0]] * 2
    )
    assert await find("shoe") == ["fox", "new"]
    await collection.add(ids=["fox"], documents=["is not added"], embeddings=[[1.0, 1.0]])
    assert await find("added") == []
    await collection.delete(ids=["fox"])
    assert await find("shoe") == ["new"]


async def test_words_and_vectors_are_fused(mode: Any) -> None:
    collection = await mode.create_collection("hybrid", configuration=ENGLISH)
    await collection.add(ids=list(DOCUMENTS), documents=list(DOCUMENTS.values()))
    options: dict[str, Any] = {"limit": 200, "default": 1_000_000, "return_rank": True}
    text = "a fox-like animal"
    by_hand = await collection.search(
        Search(rank=Rrf([Knn(text, **options), Text(text, **options)], k=10), limit=3).select(
            K.DOCUMENT, K.METADATA, K.SCORE
        )
    )
    found = await collection.hybrid(text, n_results=3)
    assert found == by_hand
    assert found["ids"][0][0] == "cat"
    assert found["documents"][0][0] == DOCUMENTS["cat"]
    only = await collection.hybrid(text, where={"#document": {"$matches": "dogs"}})
    assert only["ids"] == [["fox"]]
    words = await collection.hybrid("running", weights=[0, 1])
    assert words["ids"][0][0] == "run"
    with pytest.raises(TypeError, match="query_text must be a str, got list in hybrid"):
        await collection.hybrid(["fox"])
    with pytest.raises(TypeError, match="cannot be negative, or zero"):
        await collection.hybrid("fox", n_results=0)


async def test_a_collection_shows_its_full_text_index(mode: Any, collection: Any) -> None:
    shown = {"language": "english", "average_length": 64}
    assert collection.configuration_json["text"] == shown
    assert (await mode.get_collection("words")).configuration_json["text"] == shown
    without = await mode.create_collection("without", embedding_function=None)
    assert "text" not in without.configuration_json


async def test_a_full_text_index_combines_with_a_schema(mode: Any) -> None:
    index = SparseVectorIndexConfig()
    collection = await mode.create_collection(
        "both",
        schema=Schema().create_index(index, key="sparse"),
        configuration={"text": {"language": "simple", "average_length": 20}},
        embedding_function=None,
    )
    vector = pgchroma.SparseVector([1], [1.0])
    await collection.add(
        ids=["a", "b"],
        embeddings=[[1.0]] * 2,
        documents=["words", "others"],
        metadatas=[{"sparse": vector}, {"sparse": vector}],
    )
    found = await collection.search(
        [Search(rank=Text("words")), Search(rank=Knn(vector, key="sparse") + Text("others"))]
    )
    assert found["ids"] == [["a"], ["b"]]
    assert (await collection.get(ids=["a"]))["metadatas"] == [{"sparse": vector}]
    assert (await collection.delete(ids=["a"]))["deleted"] == 1
    assert (await collection.search(Search(rank=Text("words"))))["ids"] == [[]]


async def test_metadata_chooses_a_full_text_index_for_clients_of_chroma(mode: Any) -> None:
    metadata = {"pgchroma:text_language": "german", "pgchroma:text_average_length": 50}
    collection = await mode.create_collection("german", metadata=metadata, embedding_function=None)
    assert collection.metadata == metadata
    assert collection.configuration_json["text"] == {"language": "german", "average_length": 50}
    await collection.add(ids=["a"], documents=["Die schönen Häuser"], embeddings=[[1.0]])
    assert (await collection.get(where_document={"$matches": "schönes Haus"}))["ids"] == ["a"]
    for bad in ({"pgchroma:text_average_length": 50}, {"pgchroma:text_language": True}):
        with pytest.raises(
            errors.InvalidArgumentError, match=r"metadata\.pgchroma:text_language: "
        ):
            await mode.create_collection("bad", metadata=bad, embedding_function=None)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "text.language: expected the name of a text search configuration"),
        ({"language": 5}, "expected the name of a text search configuration|expected `str`"),
        ({"language": "x'y"}, "expected the name of a text search configuration"),
        ({"language": "klingon"}, "no text search configuration 'klingon', only arabic, .*english"),
        ({"language": "english", "average_length": 0}, r"average_length|>= 1"),
        ({"language": "english", "stem": True}, "unknown field `stem`"),
    ],
)
async def test_a_bad_full_text_index_is_refused(
    mode: Any, settings: dict[str, Any], message: str
) -> None:
    refusals = (errors.InvalidArgumentError, errors.MalformedRequestError)
    with pytest.raises(refusals, match=message):
        await mode.create_collection("bad", configuration={"text": settings})
    assert await mode.count_collections() == 0


async def test_a_full_text_index_cannot_be_changed(mode: Any, collection: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="chosen when a collection is created"):
        await collection.modify(configuration={"text": {"language": "german"}})


async def test_words_need_a_full_text_index(mode: Any) -> None:
    collection = await mode.create_collection("without", embedding_function=None)
    await collection.add(ids=["a"], documents=["words"], embeddings=[[1.0]])
    message = "the collection has no full-text index"
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await collection.get(where_document={"$matches": "words"})
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await collection.delete(where_document={"$not_matches": "words"})
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await collection.search(Search(rank=Text("words")))


@pytest.mark.parametrize(
    "rank, error, message",
    [
        (Text("x" * 10_001), errors.InvalidArgumentError, "at most 10000 characters, got 10001"),
        (Text("a\0"), errors.InvalidArgumentError, r"U\+0000"),
        (Text(5), errors.MalformedRequestError, r"\$text.query: invalid type"),  # type: ignore[arg-type]
        (Text("a", limit=-1), errors.MalformedRequestError, r"\$text.limit: invalid value"),
    ],
)
async def test_a_bad_search_by_words_is_refused(
    collection: Any, rank: Text, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await collection.search(Search(rank=rank))


async def test_too_large_a_filter_by_words_is_refused(collection: Any) -> None:
    for words in (" or ".join(["fox"] * 100), " ".join(["fo*"] * 99)):
        found = await collection.get(where_document={"$matches": words})
        assert found["ids"] == ["fox", "cat"]
        with pytest.raises(errors.InvalidArgumentError, match="at most 100 alternatives"):
            await collection.get(where_document={"$matches": f"{words} or fo* ba*"})
    with pytest.raises(errors.InvalidArgumentError, match="at most 10000 characters, got 10001"):
        await collection.get(where_document={"$matches": "x" * 10_001})


def test_a_rank_by_words_is_read_from_what_it_is_sent_as() -> None:
    for rank in (Text("a"), Text("a", 3, 0.5, True)):
        assert Text.from_dict(rank.to_dict()) == rank
    assert K.DOCUMENT.not_matches("a").to_dict() == {"#document": {"$not_matches": "a"}}


def test_a_text_search_configuration_of_the_database_may_be_used(
    url: str, client: pgchroma.ClientAPI
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create text search configuration public.mine (copy = simple)")
    collection = client.create_collection(
        "mine", configuration={"text": {"language": "public.mine"}}, embedding_function=None
    )
    collection.add(ids=["a"], documents=["the words"], embeddings=[[1.0]])
    assert collection.get(where_document={"$matches": "the"})["ids"] == ["a"]
    assert collection.search(Search(rank=Text("the")))["ids"] == [["a"]]


@pytest.mark.parametrize("modality", ["image", "text", None])
def test_an_image_that_is_embedded_takes_the_words_away(
    client: pgchroma.ClientAPI, url: str, modality: Modality | None
) -> None:
    collection = client.create_collection("images", configuration=ENGLISH, embedding_function=None)
    collection.add(ids=["a"], documents=["words"], embeddings=[[1.0]])
    ref = CollectionRef(DatabaseRef("default_tenant", "default_database"), collection.id)
    batch = RecordBatch.parse(["a"], [[2.0]], uris=["file:///image"], modality=modality)
    client._backend.execute(UpdateRecords(ref, batch))
    is_found = modality != "image"
    for _ in range(2):
        assert collection.search(Search(rank=Text("words")))["ids"] == [["a"] if is_found else []]
        with psycopg.connect(url) as connection:
            assert_words_consistent(connection, collection.id.hex)
        compact_sparse(url, collection, merges_all=True)
