"""Re-embedding a collection: what it does and refuses, in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from tests.reembedding.functions import Failing, Hashed, vector_of

TEXTS = [f"text {n}" for n in range(25)]
IDS = [f"id{n}" for n in range(25)]
ALL: Any = ["embeddings", "documents", "metadatas"]


@pytest.fixture
async def papers(mode: Any) -> Any:
    collection = await mode.create_collection("papers", embedding_function=Hashed())
    metadatas = [{"n": n} for n in range(25)]
    await collection.add(ids=IDS, documents=TEXTS, metadatas=metadatas)
    return collection


async def _assert_embedded(collection: Any, function: Hashed, texts: list[str]) -> None:
    found = await collection.get(include=ALL)
    assert found["documents"] == texts
    wanted = [vector_of(text, function.seed, function.dimension) for text in texts]
    assert np.array_equal(found["embeddings"], np.array(wanted))
    for text in texts[:3]:
        nearest = await collection.query(query_texts=text, n_results=1)
        assert nearest["documents"] == [[text]]
        assert nearest["distances"][0][0] < 1e-6


async def test_a_collection_is_reembedded(mode: Any, papers: Any) -> None:
    new = Hashed(seed=2, dimension=12)
    report = await papers.reembed(new, batch_size=10, space="cosine", progress=False)
    assert (report.embedded, report.dimension, report.is_switched) == (25, 12, True)
    assert report.comparison.sample == 20
    assert report.comparison.n_results == 10
    # Two random arrangements of 24 neighbours have ten of the first ten in common by chance.
    assert 0.1 < report.comparison.overlap < 0.8
    await _assert_embedded(papers, new, TEXTS)
    again = await mode.get_collection("papers")
    assert again.configuration_json["embedding_function"]["config"] == new.get_config()
    assert again.configuration_json["hnsw"]["space"] == "cosine"
    await _assert_embedded(again, new, TEXTS)
    await again.add(ids="new", documents="new text")
    await _assert_embedded(again, new, [*TEXTS, "new text"])
    kept = await again.get_reembedding()
    assert (kept.is_previous, kept.dimension, kept.space) == (True, 8, "l2")
    assert (kept.total, kept.embedded) == (26, 25)
    await again.drop_reembedding()
    assert await again.get_reembedding() is None
    await again.drop_reembedding()
    await _assert_embedded(again, new, [*TEXTS, "new text"])


async def test_the_same_function_is_nothing_to_do(papers: Any) -> None:
    report = await papers.reembed(Hashed())
    assert (report.embedded, report.comparison, report.is_switched) == (0, None, True)
    assert await papers.get_reembedding() is None


async def test_one_can_go_back(papers: Any) -> None:
    old, new = Hashed(), Hashed(seed=2)
    await papers.reembed(new)
    await papers.upsert(ids=["id3", "more"], documents=["another", "and more"])
    back = Hashed()
    report = await papers.reembed(back)
    assert report.embedded == 2
    assert sorted(back.seen[1:]) == ["and more", "another"]
    texts = [*TEXTS[:3], "another", *TEXTS[4:], "and more"]
    await _assert_embedded(papers, old, texts)
    await papers.drop_reembedding()
    await papers.reembed(Hashed(seed=3, dimension=4))
    await _assert_embedded(papers, Hashed(seed=3, dimension=4), texts)


async def test_what_was_stopped_goes_on(mode: Any, papers: Any) -> None:
    with pytest.raises(errors.EmbeddingError, match="away"):
        await papers.reembed(Failing(3, seed=2), batch_size=10)
    status = await papers.get_reembedding()
    assert (status.total, status.embedded, status.is_previous) == (25, 20, False)
    await _assert_embedded(papers, Hashed(), TEXTS)
    await papers.delete(ids=["id0", "id1"])
    await papers.update(ids="id2", documents="changed")
    await papers.add(ids="late", documents="added")
    collection = await mode.get_collection("papers")
    function = Hashed(seed=2)
    report = await collection.reembed(function, batch_size=10)
    assert report.embedded == 7
    assert "text 3" not in function.seen
    await _assert_embedded(collection, function, ["changed", *TEXTS[3:], "added"])


async def test_embeddings_can_be_looked_at_before_they_are_used(papers: Any) -> None:
    new = Hashed(seed=2)
    report = await papers.reembed(new, switch=False)
    assert not report.is_switched
    await _assert_embedded(papers, Hashed(), TEXTS)
    with pytest.raises(ValueError, match=r"find \d+% of the neighbours .* less than 100%"):
        await papers.reembed(new, minimum_overlap=1.0)
    await _assert_embedded(papers, Hashed(), TEXTS)
    assert (await papers.reembed(new, sample=0)).comparison is None
    await _assert_embedded(papers, new, TEXTS)


async def test_a_third_function_has_to_wait(papers: Any) -> None:
    await papers.reembed(Hashed(seed=2), switch=False)
    with pytest.raises(
        errors.UniqueConstraintError, match="already has pending embeddings from hashed"
    ):
        await papers.reembed(Hashed(seed=3))
    await papers.reembed(Hashed(seed=2))
    with pytest.raises(
        errors.UniqueConstraintError, match=r"already has previous embeddings.*drop_reembedding"
    ):
        await papers.reembed(Hashed(seed=3))


async def test_the_same_embeddings_have_the_same_neighbours(papers: Any) -> None:
    report = await papers.reembed(Hashed(seed=1, dimension=8), space="cosine")
    assert report.is_switched
    assert report.comparison.overlap > 0.5


async def test_a_single_record_has_no_neighbours_to_compare(mode: Any) -> None:
    papers = await mode.create_collection("papers", embedding_function=Hashed())
    await papers.add(ids="1", documents="alone")
    report = await papers.reembed(Hashed(seed=2), minimum_overlap=1.0)
    assert (report.embedded, report.comparison.overlap, report.is_switched) == (1, 1.0, True)
    await _assert_embedded(papers, Hashed(seed=2), ["alone"])


async def test_records_without_a_document_are_named(papers: Any) -> None:
    await papers.add(ids=["bare"], embeddings=[[1.0] * 8])
    with pytest.raises(ValueError, match="1 records have no document"):
        await papers.reembed(Hashed(seed=2))
    await papers.drop_reembedding()
    await _query_all(papers, 26)


async def _query_all(collection: Any, count: int) -> None:
    found = await collection.query(query_embeddings=[[1.0] * 8], n_results=100)
    assert len(found["ids"][0]) == count


async def test_records_with_uris_are_loaded(mode: Any) -> None:
    def load(uris: Any) -> Any:
        return [None if uri is None else f"content of {uri}" for uri in uris]

    collection = await mode.create_collection(
        "papers", embedding_function=Hashed(), data_loader=load
    )
    await collection.add(ids=["a", "b"], uris=["one", "two"])
    await collection.add(ids=["c"], documents=["text"])
    function = Hashed(seed=2)
    await collection.reembed(function)
    found = await collection.get(include=["embeddings"])
    texts = ["content of one", "content of two", "text"]
    assert np.array_equal(found["embeddings"], np.array([vector_of(t, 2, 8) for t in texts]))
    await collection.add(ids=["d"], embeddings=[[1.0] * 8])
    with pytest.raises(ValueError, match=r"without a document or URI .*'d'"):
        await collection.reembed(Hashed())


async def test_a_collection_without_records_gets_the_function(mode: Any) -> None:
    collection = await mode.create_collection("papers", embedding_function=Hashed())
    report = await collection.reembed(Hashed(seed=2, dimension=3))
    assert (report.embedded, report.dimension, report.is_switched) == (0, None, True)
    again = await mode.get_collection("papers")
    await again.add(ids="a", documents="a")
    await _assert_embedded(again, Hashed(seed=2, dimension=3), ["a"])
    await again.delete(ids="a")
    report = await again.reembed(Hashed(seed=3, dimension=5))
    assert (report.embedded, report.dimension) == (0, 5)
    await again.add(ids="b", documents="b")
    await _assert_embedded(again, Hashed(seed=3, dimension=5), ["b"])


async def test_others_look_again(mode: Any, papers: Any) -> None:
    other = await mode.get_collection("papers")
    await other.query(query_texts="text 1")
    await papers.reembed(Hashed(seed=2, dimension=12))
    with pytest.raises(errors.InvalidArgumentError, match="dimension of 12, got 8"):
        await other.query(query_texts="text 1")
    with pytest.raises(errors.InvalidArgumentError, match="dimension of 12, got 8"):
        await other.add(ids="x", documents="x")
    found = await other.get(ids="id3", include=["embeddings"])
    assert np.array_equal(found["embeddings"][0], vector_of("text 3", 2, 12))


async def test_a_collection_is_deleted_with_all_its_embeddings(mode: Any, papers: Any) -> None:
    await papers.reembed(Hashed(seed=2), switch=False)
    for _ in range(2):
        await mode.delete_collection("papers")
        assert _tables(mode.conninfo) == []
        with pytest.raises(errors.NotFoundError):
            await papers.get_reembedding()
        papers = await mode.create_collection("papers", embedding_function=Hashed())
        await papers.add(ids=IDS, documents=TEXTS)
        await papers.reembed(Hashed(seed=2))


async def test_the_view_shows_the_embeddings_in_use(mode: Any, papers: Any) -> None:
    await papers.modify(name="renamed")
    await papers.reembed(Hashed(seed=2, dimension=3))
    with psycopg.connect(mode.conninfo) as connection:
        (schema,), *_ = connection.execute("select schema_name from pgchroma.databases")
        rows = connection.execute(
            f"select id, embedding::text from {schema}.renamed order by created_at, id"
        ).fetchall()
    assert len(rows) == 25
    assert all(text.count(",") == 2 for _, text in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected an int from 1 to 10,000, got 0"),
        ({"sample": 1_001}, "sample: expected an int from 1 to 1,000, got 1001"),
        ({"n_results": True}, "n_results: expected an int from 1 to 1,000, got True"),
        ({"space": "far"}, "space: expected one of .* got 'far'"),
    ],
)
async def test_bad_arguments_are_named(papers: Any, arguments: Any, message: str) -> None:
    with pytest.raises(pgchroma.errors.ChromaError, match=message):
        await papers.reembed(Hashed(seed=2), **arguments)
    assert await papers.get_reembedding() is None


def _tables(conninfo: str) -> list[str]:
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "select relname::text from pg_class where relname ~ '^(records|vectors|spare|counts)_'"
        )
        return [name for (name,) in rows]
