"""Files: an export is imported again; damaged and foreign files are read as far as possible."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pgchroma.errors import ChromaError, InvalidArgumentError
from pgchroma.transfer.coordinates import Projection
from pgchroma.transfer.exporting import FORMATS, Format, export_collection
from pgchroma.transfer.readers.columns import Role
from pgchroma.transfer.readers.files import FilesSource
from pgchroma.transfer.report import CollectionReport
from pgchroma.transfer.source import SourceBatch, SourceCollection
from pgchroma.transfer.writers.partial_file import partial_file
from tests.transfer.sources import ListSource, Record, some_records

DETAILS: dict[str, Any] = {
    "tenant": "acme",
    "database": "library",
    "metadata": {"topic": "x", "n": 1, "f": 1.0},
    "configuration": {"hnsw": {"space": "cosine"}, "embedding_function": {"type": "legacy"}},
    "schema": {"defaults": {}, "keys": {"k": {"string": {}}}},
    "dimension": 8,
}


def exported(path: Path, records: list[Record], format: Format, **options: Any) -> CollectionReport:
    source = ListSource(records, details=DETAILS)
    return export_collection(source, source.collections()[0], path, format, **options)


def read(
    path: Path, size: int = 7, skip: int = 0, chosen: dict[Role, str] | None = None
) -> tuple[SourceCollection, list[SourceBatch]]:
    with FilesSource(path, [path], chosen or {}) as source:
        (collection,) = source.collections()
        return collection, list(source.batches(collection, size, skip))


def records_of(batches: list[SourceBatch]) -> Iterator[Record]:
    for batch in batches:
        columns = (batch.ids, batch.embeddings, batch.documents, batch.uris, batch.metadatas)
        yield from (Record(*row) for row in zip(*columns, strict=True))


def check_equal(found: list[Record], wanted: list[Record]) -> None:
    assert [each.id for each in found] == [each.id for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert (one.document, one.uri) == (other.document, other.uri)
        assert json.dumps(one.metadata or {}) == json.dumps(other.metadata or {})
        if one.embedding is None or other.embedding is None:
            assert one.embedding is other.embedding
        else:
            assert one.embedding.tobytes() == other.embedding.tobytes()


def losses_of(batches: list[SourceBatch]) -> list[str]:
    return [loss.reason for batch in batches for loss in batch.losses]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_has_everything(format: Format, tmp_path: Path) -> None:
    path, records = tmp_path / f"papers.{format}", some_records(100, has_gaps=True)
    report = exported(path, records, format)
    assert (report.read, report.written, report.is_faithful) == (100, 100, True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    collection, batches = read(path)
    check_equal(list(records_of(batches)), records)
    assert losses_of(batches) == []
    for name, value in DETAILS.items():
        assert getattr(collection, name) == value
    assert collection.name == "papers"
    _, rest = read(path, skip=60)
    check_equal(list(records_of(rest)), records[60:])


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_may_have_no_records(format: Format, tmp_path: Path) -> None:
    path = tmp_path / f"papers.{format}"
    assert exported(path, [], format).is_faithful
    collection, batches = read(path)
    assert collection.name == "papers"
    assert list(records_of(batches)) == []


def test_parquet_has_columns_that_other_programs_understand(tmp_path: Path) -> None:
    path, records = tmp_path / "papers.parquet", some_records(50, has_gaps=True)
    for record, value in zip(records, ["text", 1, 1.5, True], strict=False):
        record.metadata = {"mixed": value, "id": "own", "number": value if value != "text" else 2}
    exported(path, records, "parquet", has_coordinates=True)
    table = pq.read_table(path)
    types = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert types == {
        "id": "string", "document": "string", "uri": "string", "x": "float", "y": "float",
        "embedding": "fixed_size_list<element: float>[8]", "mixed": "string",
        "metadata.id": "string", "number": "string", "int": "int64", "float": "double",
        "whole": "double", "bool": "bool", "text": "string", "strings": "list<element: string>",
        "ints": "list<element: int64>", "floats": "list<element: double>",
        "bools": "list<element: bool>", "metadata": "string",
    }  # fmt: skip
    rows = table.to_pylist()
    assert rows[6]["ints"] == [1, 6]
    assert rows[0]["mixed"] == '"text"'
    assert rows[5]["embedding"] is rows[5]["x"] is None
    assert all(isinstance(row["y"], float) for row in rows if row["embedding"] is not None)


def test_coordinates_are_the_principal_components() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((500, 2)) * [5, 2]
    axes = np.linalg.qr(rng.standard_normal((6, 2)))[0]
    matrix = (points @ axes.T + 100).astype(np.float32)
    projection = Projection()
    for first in range(0, 500, 90):
        projection.add(matrix[first : first + 90])
    found = np.vstack([projection.coordinates(matrix[:250]), projection.coordinates(matrix[250:])])
    centered = matrix - matrix.mean(axis=0)
    wanted = (
        np.linalg.svd(centered, full_matrices=False)[0][:, :2]
        * np.linalg.svd(centered, compute_uv=False)[:2]
    )
    assert np.allclose(np.abs(found), np.abs(wanted), atol=1e-3)


def test_one_dimension_and_no_records_have_coordinates() -> None:
    projection = Projection()
    projection.add(np.array([[1.0], [3.0]], dtype=np.float32))
    found = projection.coordinates(np.array([[1.0], [3.0]], dtype=np.float32))
    assert found.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert Projection().coordinates(np.ones((2, 3), dtype=np.float32)).tolist() == [[0, 0]] * 2


# --- Damage -----------------------------------------------------------------------------------


def test_parquet_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "papers.parquet"
    exported(path, some_records(50), "parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ChromaError, match=r"papers\.parquet is damaged or not complete"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(ChromaError, match="damaged or not complete"):
        read(path)


def test_rows_of_parquet_that_are_damaged_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "papers.parquet"
    exported(path, some_records(500), "parquet")
    content = bytearray(path.read_bytes())
    content[200:6000] = bytes(5800)
    path.write_bytes(content)
    with pytest.raises(ChromaError, match=r"the rows after 0 cannot be read"):
        read(path)


def test_lines_that_were_cut_off_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    exported(path, some_records(50), "jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:40]) + lines[40][:30])
    _, batches = read(path)
    assert len(list(records_of(batches))) == 39
    first, second = losses_of(batches)
    assert first.startswith("papers.jsonl, line 41: it is not JSON")
    assert second == "papers.jsonl is cut off: it has 39 of 50 records"
    path.write_bytes(b"".join(lines[:40]))
    assert losses_of(read(path)[1]) == ["papers.jsonl is cut off: it has 39 of 50 records"]


def test_compressed_lines_that_were_cut_off_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl.gz"
    exported(path, some_records(500), "jsonl.gz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ChromaError, match=r"papers\.jsonl\.gz is cut off"):
        read(path)


def test_faulty_lines_are_left_out_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    lines = [
        '{"id": "a", "embedding": [1, 2], "colour": "red"}', "", "nonsense", '["a"]',
        '{"embedding": [1]}', '{"id": 7, "text": "seven", "metadata": {"n": 1}, "k": true}',
        '{"id": "b", "embedding": [NaN, 1]}', '{"id": "c", "embedding": ["x"]}',
        '{"id": "d", "text": "\\ud83d\\ude00"}', '{"id": "e", "text": "\\ud83d"}',
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    collection, batches = read(path, chosen={"document": "text"})
    assert (collection.name, collection.count) == ("some", None)
    found = list(records_of(batches))
    assert [each.id for each in found] == ["a", "7", "b", "c", "d", "e"]
    assert found[0].metadata == {"colour": "red"}
    assert (found[1].document, found[1].metadata) == ("seven", {"n": 1, "k": True})
    assert [reason.partition(": ")[0] for reason in losses_of(batches)] == [
        "some.jsonl, line 3", "some.jsonl, line 4", "some.jsonl, line 5",
        "it is not a list of numbers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense\n", "line 1: it is not JSON"),
        ("[1]\n", "line 1: it is not a JSON object"),
        ('{"name": "a"}\n', "has no column of ids: name one with --column id=NAME; it has name"),
        ('{"pgchroma": {"version": 9, "name": "abc"}}\n', "has version 9"),
        ('{"pgchroma": {"version": 1}}\n', "has no name"),
    ],
)
def test_a_file_that_is_something_else_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=message):
        read(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("id\n")
    with pytest.raises(InvalidArgumentError, match=r"must end with one of \.parquet, \.jsonl"):
        read(path)


# --- Files of other programs ------------------------------------------------------------------


@pytest.mark.parametrize(
    "vectors",
    [
        pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64())),
        pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.large_list(pa.float32())),
        pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64())),
    ],
    ids=["doubles", "large", "fixed", "integers"],
)
def test_parquet_of_another_program_is_read(vectors: Any, tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    table = pa.table(
        {
            "_id": [1, 2, 3], "vector": vectors, "text": ["a", None, "c"], "n": [1, None, 3],
            "url": ["u", None, None],
        }
    )  # fmt: skip
    pq.write_table(table, path)
    collection, batches = read(path, size=2)
    assert (collection.name, collection.count) == ("theirs", 3)
    found = list(records_of(batches))
    assert [each.id for each in found] == ["1", "2", "3"]
    assert [None if e.embedding is None else e.embedding.tolist() for e in found] == [
        [1.0, 2.0], None, [3.0, 4.0],
    ]  # fmt: skip
    assert [each.document for each in found] == ["a", None, "c"]
    assert [each.metadata["n"] for each in found] == [1, None, 3]
    assert [each.uri for each in found] == ["u", None, None]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    columns = {"key": ["a", None], "v": [[1.0], [2.0]], "body": ["x", "y"], "text": ["t", "u"]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InvalidArgumentError, match=r"no column of ids.* it has key, v, body"):
        read(path)
    chosen: dict[Role, str] = {"id": "key", "embedding": "v", "document": "body"}
    _, batches = read(path, chosen=chosen)
    (record,) = records_of(batches)
    assert (record.id, record.document, record.metadata) == ("a", "x", {"text": "t"})
    assert losses_of(batches) == ["theirs.parquet, row 2: it has no id"]
    with pytest.raises(InvalidArgumentError, match="has no column 'nope'"):
        read(path, chosen={"id": "nope"})
    with pytest.raises(InvalidArgumentError, match="has values of type string, not lists"):
        read(path, chosen={"id": "key", "embedding": "body"})


def test_json_lines_may_be_compressed_without_saying_so(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(gzip.compress(b'{"id": "a", "embedding": [1]}\n'))
    assert [each.id for each in records_of(read(path)[1])] == ["a"]


# --- Writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_that_fails_leaves_nothing_behind(format: Format, tmp_path: Path) -> None:
    def before(position: int) -> None:
        if position == 1000:
            raise ChromaError("the cable was cut")

    path = tmp_path / f"papers.{format}"
    path.write_text("what was there")
    source = ListSource(some_records(1500), before=before)
    with pytest.raises(ChromaError, match="cable"):
        export_collection(source, source.collections()[0], path, format)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there"


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    refused = pytest.raises(ChromaError, match=r"papers\.jsonl cannot be written: No space left")
    with refused, partial_file(path) as file:
        file.write(b"some")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = ListSource([])
    with pytest.raises(ChromaError, match="cannot be written"):
        export_collection(
            source, source.collections()[0], tmp_path / "file" / "papers.jsonl", "jsonl"
        )
