"""Every record of the directories that releases of Chroma wrote, without Chroma."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.metadata import parse_collection_metadata, parse_metadata
from pgchroma.model.schema import merge_schema
from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from pgchroma.transfer.source import Source
from tests.transfer.damages import database, execute
from tests.transfer.sample_stores import (
    EACH_RELEASE,
    RELEASES,
    Read,
    Store,
    compare,
    is_equal,
    is_same,
    read_all,
    read_collection,
)

Samples = Callable[[str], Store]
CopyOf = Callable[[str], Path]
ReadOf = Callable[[str], Sequence[Read]]


def contents(directory: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def read_one(path: Path, name: str) -> Read:
    with ChromaDirectory(path) as source:
        (collection,) = (
            c for c in source.collections() if c.name == name and c.database == "default_database"
        )
        return read_collection(source, collection)


def test_there_are_samples_of_the_releases_that_changed_the_format() -> None:
    assert {"0.4.3", "0.4.24", "0.5.5", "0.6.3", "1.0.0", "1.3.7", "1.5.9"} <= set(RELEASES)


@pytest.mark.parametrize("release", EACH_RELEASE)
def test_every_record_is_read_as_it_was_written(
    release: str, samples: Samples, read_of: ReadOf
) -> None:
    store = samples(release)
    before = contents(store.path)
    reads = read_of(release)
    found = +compare(store, reads)
    total = sum(len(truth.records) for truth in store.truths)
    assert found == {"records": total, "right": total}
    assert [read for read in reads if read.losses] == []
    assert [len(read.ids) for read in reads] == [read.collection.count for read in reads]
    assert contents(store.path) == before


@pytest.mark.parametrize("release", EACH_RELEASE)
def test_every_collection_is_described_as_it_was_made(
    release: str, samples: Samples, read_of: ReadOf
) -> None:
    store = samples(release)
    collections = [read.collection for read in read_of(release)]
    described = {(c.tenant, c.database, c.name): c for c in collections}
    assert described.keys() == {truth.place for truth in store.truths}
    for truth in store.truths:
        collection = described[truth.place]
        assert is_same(collection.metadata, without_moved(truth.head["metadata"], collection))
        space = collection.configuration["hnsw"].get("space", "l2")
        assert space == truth.head["space"]
        assert collection.key == truth.head["id"]
        if truth.records:
            assert collection.dimension == truth.given.shape[1]


def without_moved(metadata: Any, collection: Any) -> Any:
    """Chroma 1.x moves some settings from the metadata to the configuration."""
    kept = {
        key: value
        for key, value in (metadata or {}).items()
        if not key.startswith("hnsw:") or key in (collection.metadata or {})
    }
    return kept or None


@pytest.mark.parametrize("release", EACH_RELEASE)
def test_the_target_accepts_what_is_read(release: str, read_of: ReadOf) -> None:
    for read in read_of(release):
        collection = read.collection
        configuration, _ = merge_schema(collection.configuration, collection.schema)
        parsed = CollectionConfiguration.parse(configuration, collection.metadata)
        settings = collection.configuration["hnsw"]
        assert {name: getattr(parsed.hnsw, name) for name in settings} == settings
        parse_collection_metadata(collection.metadata)
        for metadata in read.metadatas:
            assert is_same(parse_metadata(metadata or {}, "metadata"), metadata or {})


def test_settings_of_an_index_are_kept(samples: Samples) -> None:
    for release in ("1.0.20", "1.3.7", "1.5.9"):
        with ChromaDirectory(samples(release).path) as source:
            (configured,) = (c for c in source.collections() if c.name == "configured")
        hnsw = configured.configuration["hnsw"]
        assert (hnsw["space"], hnsw["max_neighbors"], hnsw["sync_threshold"]) == ("cosine", 8, 60)
        assert configured.configuration["embedding_function"] == {"type": "legacy"}
        assert configured.schema is None


@pytest.mark.parametrize("release", ["0.4.3", "0.6.3", "1.5.9"])
def test_records_come_in_the_order_of_their_insertion(release: str, samples: Samples) -> None:
    store = samples(release)
    statement = (
        "select e.embedding_id from embeddings e join segments s on s.id = e.segment_id "
        "where s.collection = ? order by e.id"
    )
    with (
        closing(
            sqlite3.connect(f"file:{database(store.path)}?immutable=1", uri=True)
        ) as connection,
        ChromaDirectory(store.path) as source,
    ):
        for collection in source.collections():
            inserted = [id for (id,) in connection.execute(statement, (collection.key,))]
            assert read_collection(source, collection).ids == inserted


@pytest.mark.parametrize("release", ["0.4.24+1.5.9", "1.5.9"])
def test_batches_and_skips_do_not_change_what_is_read(release: str, samples: Samples) -> None:
    with ChromaDirectory(samples(release).path) as source:
        collection = max(source.collections(), key=lambda c: c.count or 0)
        whole = read_collection(source, collection, size=1000)
        for size, skip in ((1, 170), (7, 0), (64, 33), (1000, 181), (5, 182), (5, 1000)):
            part = read_collection(source, collection, size, skip)
            assert part.ids == whole.ids[skip:]
            assert part.documents == whole.documents[skip:]
            assert is_same(part.metadatas, whole.metadatas[skip:])
            pairs = zip(part.embeddings, whole.embeddings[skip:], strict=True)
            assert all(theirs is not None and is_equal(ours, theirs) for ours, theirs in pairs)


def test_it_is_a_source_and_can_be_read_again(samples: Samples) -> None:
    store = samples("1.5.9")
    source: Source = ChromaDirectory(store.path)
    with source:
        assert str(store.path) in source.describe()
        assert "1.5" in source.describe()
        first, second = (list(source.batches(source.collections()[1], 50)) for _ in range(2))
    assert [batch.ids for batch in first] == [batch.ids for batch in second]


def test_deleted_collections_are_left_out(samples: Samples) -> None:
    with ChromaDirectory(samples("1.5.9").path) as source:
        assert "gone" not in {collection.name for collection in source.collections()}
        (warning,) = source.warnings()
    assert "deleted collections" in warning


# Metadata, documents and embeddings of unusual kinds


def set_metadata(path: Path, id: str, values: Mapping[str, object]) -> None:
    """Write a metadata row of a record of `small-l2`."""
    columns = ", ".join(values)
    with closing(sqlite3.connect(database(path))) as connection:
        connection.execute(
            f"insert or replace into embedding_metadata (id, {columns}) "
            f"select e.id, {', '.join('?' * len(values))} from embeddings e "
            "join segments s on s.id = e.segment_id join collections c on c.id = s.collection "
            "join databases d on d.id = c.database_id where c.name = 'small-l2' "
            "and d.name = 'default_database' and e.embedding_id = ?",
            (*values.values(), id),
        )
        connection.commit()


def test_a_value_of_an_unknown_type_is_reported(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    set_metadata(path, "a1", {"key": "strange"})
    read = read_one(path, "small-l2")
    (loss,) = read.losses
    assert (loss.part, loss.id, loss.is_suspect) == ("metadata", "a1", False)
    assert "'strange'" in loss.reason
    assert "strange" not in (read.metadatas[read.ids.index("a1")] or {})


def test_a_text_that_is_not_utf_8_is_reported(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    with closing(sqlite3.connect(database(path))) as connection:
        connection.execute(
            "update embedding_metadata set string_value = cast(x'61ff62' as text) "
            "where key = 'chroma:document' and id = "
            "(select min(id) from embeddings where embedding_id = 'a11')"
        )
        connection.commit()
    read = read_one(path, "small-l2")
    (loss,) = read.losses
    assert (loss.part, loss.id, loss.is_suspect) == ("document", "a11", True)
    assert read.documents[read.ids.index("a11")] == "a\ufffdb"


def test_nul_characters_are_kept_for_the_target_to_judge(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    set_metadata(path, "a1", {"key": "s", "string_value": "a\0b"})
    read = read_one(path, "small-l2")
    assert (read.metadatas[read.ids.index("a1")] or {})["s"] == "a\0b"


def test_embeddings_of_another_dimension_are_reported(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    execute(path, "update embeddings_queue set vector = zeroblob(12) where id = 'a15'")
    read = read_one(path, "small-l2")
    (loss,) = read.losses
    assert (loss.part, loss.id) == ("embedding", "a15")
    assert "3 dimensions" in loss.reason
    assert "16" in loss.reason
    assert read.embeddings[read.ids.index("a15")] is None


def test_damaged_embeddings_in_the_queue_are_reported(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    execute(path, "update embeddings_queue set vector = zeroblob(13) where id = 'a15'")
    read = read_one(path, "small-l2")
    assert [(loss.part, loss.id) for loss in read.losses] == [("embedding", "a15")]
    assert read.embeddings[read.ids.index("a15")] is None


def test_embeddings_of_integers_are_converted(copy_of: CopyOf) -> None:
    path = copy_of("0.4.24")
    integers = np.arange(16, dtype="<i4")
    with closing(sqlite3.connect(database(path))) as connection:
        connection.execute(
            "update embeddings_queue set encoding = 'INT32', vector = ? where id = 'a15'",
            (integers.tobytes(),),
        )
        connection.commit()
    read = read_one(path, "small-l2")
    assert is_equal(read.embeddings[read.ids.index("a15")], integers.astype(np.float32))


def test_duplicate_ids_come_once_and_are_reported(copy_of: CopyOf, samples: Samples) -> None:
    path = copy_of("1.5.9")
    execute(
        path,
        "create table copied (id integer primary key, segment_id text, embedding_id text, "
        "seq_id blob, created_at timestamp)",
        "insert into copied select * from embeddings",
        "insert into copied (segment_id, embedding_id, seq_id) "
        "select segment_id, embedding_id, seq_id from embeddings where embedding_id = 'a15'",
        "drop table embeddings",
        "alter table copied rename to embeddings",
    )
    with ChromaDirectory(path) as source:
        reads = read_all(source)
        assert any("1 records have the id of another" in text for text in source.warnings())
    total = sum(len(truth.records) for truth in samples("1.5.9").truths)
    found = compare(samples("1.5.9"), reads)
    assert (found["records"], found["right"], found["extra"]) == (total, total, 0)


# Settings


def test_settings_that_are_not_allowed_are_left_out(copy_of: CopyOf) -> None:
    path = copy_of("0.4.24")
    execute(
        path,
        "insert into collection_metadata (collection_id, key, int_value) "
        "select id, 'hnsw:unknown', 1 from collections where name = 'big-ip'",
        "update collection_metadata set int_value = 0 where key = 'hnsw:batch_size'",
    )
    read = read_one(path, "big-ip")
    reasons = [loss.reason for loss in read.losses if loss.part == "collection"]
    assert any("batch_size is 0" in reason for reason in reasons)
    CollectionConfiguration.parse(read.collection.configuration, read.collection.metadata)
    assert read.collection.configuration["hnsw"]["space"] == "ip"


def test_a_damaged_configuration_is_reported(copy_of: CopyOf) -> None:
    path = copy_of("1.0.20")
    execute(path, "update collections set config_json_str = '{\"vector'")
    read = read_one(path, "big-ip")
    assert "configuration is damaged" in read.losses[0].reason
    # 1.0 repeats the space in the metadata.
    assert read.collection.configuration["hnsw"]["space"] == "ip"


def test_what_a_schema_says_about_keys_is_kept(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    execute(
        path,
        "update collections set schema_str = json_set(schema_str, "
        "'$.keys.s.string.string_inverted_index.enabled', json('false'))",
    )
    read = read_one(path, "big-ip")
    configuration, filterable = merge_schema(read.collection.configuration, read.collection.schema)
    assert filterable is not None
    assert filterable.keys == {"s": {"string": False}}
    parsed = CollectionConfiguration.parse(configuration, read.collection.metadata)
    assert parsed.hnsw.space == "ip"


def test_an_embedding_function_is_kept(copy_of: CopyOf) -> None:
    path = copy_of("1.0.20")
    function = '{"type":"known","name":"openai","config":{"model_name":"x"}}'
    execute(
        path,
        f"update collections set config_json_str = json_set(config_json_str, "
        f"'$.embedding_function', json('{function}'))",
    )
    read = read_one(path, "big-ip")
    assert read.collection.configuration["embedding_function"] == {
        "type": "known",
        "name": "openai",
        "config": {"model_name": "x"},
    }


def test_another_thread_may_read_and_a_source_may_be_opened_again(samples: Samples) -> None:
    source = ChromaDirectory(samples("1.5.9").path)
    found = []
    for _ in range(2):
        with source, ThreadPoolExecutor(1) as pool:
            collections = source.collections()
            read = pool.submit(read_collection, source, collections[0]).result()
            found.append((len(collections), read.ids, source.warnings()))
    assert found[0] == found[1]
