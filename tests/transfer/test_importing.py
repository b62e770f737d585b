"""Transfers into a backend: complete or not visible, continued, verified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.http import HttpBackend
from pgchroma.errors import (
    ChromaError,
    InternalError,
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageFullError,
    UniqueConstraintError,
)
from pgchroma.model.entities import DatabaseRef, Limits
from pgchroma.model.operations import (
    AddRecords,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetRecords,
    ModifyCollection,
    Operation,
    ReplaceCollection,
)
from pgchroma.transfer.importing import (
    Assignment,
    check_existing,
    check_names,
    import_collection,
)
from pgchroma.transfer.naming import is_temporary, temporary_name
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.report import CollectionReport, TransferReport
from pgchroma.transfer.source import Loss
from pgchroma.transfer.writers.backend import BackendTarget
from tests.transfer.sources import (
    SCOPE,
    ListSource,
    Record,
    assignment,
    check_stored,
    names,
    opened,
    some_records,
    stored,
)

SMALL = TransferOptions(batch_size=50)


@pytest.fixture(params=["url", "emptied"], ids=["direct", "http"])
def either(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with opened(request.getfixturevalue(request.param)) as backend:
        yield backend


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    with opened(url) as backend:
        yield backend


@pytest.fixture
def over_http(emptied: str) -> Iterator[Backend]:
    with opened(emptied) as backend:
        yield backend


class Wrapped:
    """A backend that asks a function before it executes an operation."""

    in_caller_transaction = False

    def __init__(self, backend: Backend, before: Callable[[Operation[Any]], None]) -> None:
        self._backend = backend
        self._before = before

    def execute(self, operation: Operation[Any]) -> Any:
        self._before(operation)
        return self._backend.execute(operation)

    def limits(self) -> Limits:
        return self._backend.limits()

    def close(self) -> None:
        self._backend.close()


class WrappedServer(Wrapped, HttpBackend):
    """The same for a server, which has fewer operations."""


def transfer(
    source: ListSource, backend: Backend, options: TransferOptions = SMALL
) -> CollectionReport:
    return import_collection(source, BackendTarget(backend), assignment(source), options)


def test_everything_arrives_bit_for_bit(either: Backend) -> None:
    records = some_records(333)
    details = {
        "metadata": {"topic": "x", "n": 1, "f": 0.5, "b": True},
        "configuration": {
            "hnsw": {"space": "cosine", "ef_search": 77},
            "embedding_function": {"type": "known", "name": "default", "config": {}},
        },
    }
    seen = list[int]()
    source = ListSource(records, details=details)
    report = import_collection(
        source, BackendTarget(either), assignment(source), SMALL, seen.append
    )
    check_stored(stored(either, "papers"), records)
    assert names(either) == ["papers"]
    found = either.execute(GetCollection(SCOPE, "papers"))
    assert found.metadata == details["metadata"]
    shown = found.configuration_json
    assert (shown["hnsw"]["space"], shown["hnsw"]["ef_search"]) == ("cosine", 77)
    assert shown["embedding_function"]["name"] == "default"
    assert sum(seen) == report.read == report.written == 333
    assert report.is_faithful
    assert report.distances > 100


def test_records_without_embeddings_are_kept_where_that_is_possible(url: str, emptied: str) -> None:
    records = some_records(100, has_gaps=True)
    with opened(url) as backend:
        assert transfer(ListSource(records), backend).is_faithful
        check_stored(stored(backend, "papers"), records)
    embedded = [each for each in records if each.embedding is not None]
    with opened(emptied) as backend:
        report = transfer(ListSource(records), backend)
        check_stored(stored(backend, "papers"), embedded)
    assert {loss.id for loss in report.losses} == {each.id for each in records} - {
        each.id for each in embedded
    }
    assert all("--reembed computes it" in loss.reason for loss in report.losses)


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_distances_are_compared(backend: Backend, space: str) -> None:
    details = {"configuration": {"hnsw": {"space": space}}}
    report = transfer(ListSource(some_records(100), details=details), backend)
    assert report.distances > 1000
    assert report.wrong_distances == 0


def test_the_distance_of_old_collections_is_in_their_metadata(either: Backend) -> None:
    source = ListSource(some_records(5), details={"metadata": {"hnsw:space": "ip"}})
    transfer(source, either)
    found = either.execute(GetCollection(SCOPE, "papers"))
    assert found.configuration.hnsw.space == "ip"
    assert found.metadata == {"hnsw:space": "ip"}


def test_metadata_does_not_change_the_distance_of_the_configuration(either: Backend) -> None:
    details = {
        "metadata": {"hnsw:space": "nonsense", "k": 1},
        "configuration": {"hnsw": {"space": "l2"}},
        "schema": {"defaults": {}, "keys": {}},
    }
    report = transfer(ListSource(some_records(5), details=details), either)
    found = either.execute(GetCollection(SCOPE, "papers"))
    assert found.configuration.hnsw.space == "l2"
    assert found.metadata == details["metadata"]
    assert report.is_faithful


def test_a_schema_and_a_full_text_index_are_kept(either: Backend) -> None:
    details = {
        "configuration": {"text": {"language": "english", "average_length": 20}},
        "schema": {
            "defaults": {"string": {"string_inverted_index": {"enabled": False, "config": {}}}},
            "keys": {
                "sparse": {
                    "sparse_vector": {"sparse_vector_index": {"enabled": True, "config": {}}}
                },
                "text": {"string": {"string_inverted_index": {"enabled": True, "config": {}}}},
            },
        },
    }
    records = some_records(60)
    report = transfer(ListSource(records, details=details), either)
    assert report.is_faithful
    filterable = either.execute(GetCollection(SCOPE, "papers")).configuration.filterable
    assert filterable.text is not None
    assert (filterable.text.language, list(filterable.sparse)) == ("english", ["sparse"])
    assert filterable.defaults == {"string": False}
    check_stored(stored(either, "papers"), records)


def test_a_configuration_that_cannot_be_read_is_reported(backend: Backend) -> None:
    source = ListSource(some_records(3), details={"configuration": {"hnsw": {"space": "taxi"}}})
    report = transfer(source, backend)
    assert [loss.part for loss in report.losses] == ["collection"]
    assert "the default is used" in report.losses[0].reason
    assert names(backend) == ["papers"]


def test_missing_tenants_and_databases_are_created(either: Backend) -> None:
    scope = DatabaseRef("acme tenant", "library")
    source = ListSource(some_records(3))
    for expected in ("complete", "skipped"):
        options = replace(SMALL, existing="skip")
        report = import_collection(
            source, BackendTarget(either), assignment(source, scope), options
        )
        assert report.status == expected
    assert names(either, scope) == ["papers"]
    assert report.target == "acme tenant/library/papers"


def test_an_empty_collection_is_created(either: Backend) -> None:
    report = transfer(ListSource([]), either)
    assert (report.read, report.is_faithful) == (0, True)
    assert names(either) == ["papers"]


def test_losses_of_the_source_are_reported(backend: Backend) -> None:
    losses = [Loss("embedding", "its label is gone", "id-1"), Loss("uri", "odd", is_suspect=True)]
    report = transfer(ListSource(some_records(5), losses=losses), backend)
    assert report.losses == losses
    assert not report.is_faithful
    lines = list(report.lines())
    assert any("not saved: embedding, once: its label is gone ('id-1')" in line for line in lines)
    assert any("may be wrong: uri: odd" in line for line in lines)


def test_damage_of_a_collection_is_no_loss_of_a_record() -> None:
    losses = [Loss("embedding", "the index is cut off"), Loss("collection", "its name is lost")]
    losses += [Loss("embedding", "it is gone", id) for id in ("a", "b")]
    losses += [Loss("metadata", f"key {key} is damaged", "a", is_suspect=True) for key in "xy"]
    losses += [Loss("record", "it has no id"), Loss("record", "it has no id")]
    damaged = CollectionReport("here", "there", losses=losses)
    assert list(damaged.lines())[1:] == [
        "  not saved: embedding, 2 times: it is gone ('a', 'b')",
        "  not saved: record, 2 times: it has no id",
        "  damaged: embedding: the index is cut off",
        "  not saved: collection: its name is lost",
        "  may be wrong: metadata, once: key x is damaged ('a')",
        "  may be wrong: metadata, once: key y is damaged ('a')",
    ]
    report = TransferReport("here", "there", [damaged, CollectionReport("other", "other")])
    assert report.summary() == (
        "1 of 2 collections are not as in the source; not saved: embedding of 2 records, "
        "2 records; may be wrong: metadata of 1 record"
    )
    assert TransferReport("here", "there").summary() == ""


# --- Continuing -------------------------------------------------------------------------------


def failing_at(position: int) -> Callable[[int], None]:
    def before(first: int) -> None:
        if first == position:
            raise ChromaError("the cable was cut")

    return before


def test_an_interrupted_transfer_is_not_visible_and_continues(either: Backend) -> None:
    records = some_records(500)
    source = ListSource(records, before=failing_at(450))
    with pytest.raises(ChromaError, match=r"cable was cut\. .* the same command continues"):
        transfer(source, either)
    (temporary,) = names(either)
    assert is_temporary(temporary)
    done = len(stored(either, temporary).ids)
    assert 300 <= done <= 450

    sent: list[str] = []

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords):
            sent.extend(operation.records.ids)

    report = transfer(ListSource(records), Wrapped(either, before))
    assert sent == [each.id for each in records[done:]]
    assert (report.resumed, report.written) == (done, 500)
    assert report.is_faithful
    assert names(either) == ["papers"]
    check_stored(stored(either, "papers"), records)


def test_a_transfer_continues_in_the_middle_of_a_batch(backend: Backend) -> None:
    records = some_records(100)
    source = ListSource(records, before=failing_at(70))
    with pytest.raises(ChromaError):
        transfer(source, backend, TransferOptions(batch_size=7))
    report = transfer(ListSource(records), backend, TransferOptions(batch_size=30))
    assert report.resumed % 30 != 0
    assert report.is_faithful
    check_stored(stored(backend, "papers"), records)


@pytest.mark.parametrize("change", ["last", "first", "fewer"])
def test_what_another_source_has_written_is_written_again(backend: Backend, change: str) -> None:
    records = some_records(200)
    with pytest.raises(ChromaError):
        transfer(ListSource(records, before=failing_at(150)), backend)
    changed = some_records(200)
    if change == "last":
        for each in changed[90:]:
            each.id = f"other-{each.id}"
    elif change == "first":
        changed[0].document = "changed"
    else:
        changed = changed[:20]
    report = transfer(ListSource(changed), backend)
    assert (report.resumed, report.is_faithful) == (0, True)
    assert names(backend) == ["papers"]
    check_stored(stored(backend, "papers"), changed)


def test_a_lost_answer_does_not_end_a_transfer(backend: Backend) -> None:
    records, answers = some_records(120), iter(range(100))

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords) and next(answers) == 1:
            # It was executed, and the answer was lost.
            backend.execute(operation)
            raise OutcomeUnknownError("the connection was lost")

    assert transfer(ListSource(records), Wrapped(backend, before)).is_faithful
    check_stored(stored(backend, "papers"), records)


def test_a_full_disk_ends_a_transfer_that_can_continue(backend: Backend) -> None:
    records, full = some_records(200), [True]

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords) and full and "id-100" in operation.records.ids:
            raise StorageFullError("no space left on device")

    with pytest.raises(ChromaError, match=r"no space left on device.* continues there"):
        transfer(ListSource(records), Wrapped(backend, before))
    full.clear()
    report = transfer(ListSource(records), Wrapped(backend, before))
    assert (report.resumed, report.is_faithful) == (100, True)


def test_two_transfers_of_the_same_at_once_do_no_harm(url: str) -> None:
    records = some_records(600)
    begin = threading.Barrier(2)
    outcomes: list[Any] = []

    def before(position: int) -> None:
        if position == 100:
            begin.wait(60)

    def run() -> None:
        with opened(url) as backend:
            try:
                outcomes.append(transfer(ListSource(records, before=before), backend))
            except ChromaError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(url) as backend:
        assert names(backend) == ["papers"]
        check_stored(stored(backend, "papers"), records)
    reports = [each for each in outcomes if isinstance(each, CollectionReport)]
    assert reports
    assert all(report.is_faithful for report in reports)


# --- Collections that exist ------------------------------------------------------------------


def test_a_collection_that_exists_is_refused_before_anything_is_written(either: Backend) -> None:
    either.execute(CreateCollection(SCOPE, "papers"))
    source = ListSource(some_records(5))
    with pytest.raises(UniqueConstraintError, match=r"default_database/papers exists already"):
        check_existing(source, BackendTarget(either), [assignment(source)], SMALL)
    assert names(either) == ["papers"]


def test_collections_that_an_interrupted_run_completed_are_done(backend: Backend) -> None:
    source = ListSource([*some_records(60), Record("id-1"), Record("", document="lost")])
    transfer(source, backend)
    done, left = assignment(source), Assignment(source.collections()[0], SCOPE, "left")
    target = BackendTarget(backend)
    first, second = check_existing(source, target, [done, left], SMALL)
    assert first is not None
    assert (first.written, first.resumed, len(first.losses)) == (60, 60, 2)
    assert second is None
    for changed in (some_records(61), some_records(59), some_records(60, seed=1)):
        with pytest.raises(UniqueConstraintError, match="papers exists already"):
            check_existing(ListSource(changed), target, [done, left], SMALL)
    with pytest.raises(UniqueConstraintError):
        check_existing(source, target, [done], SMALL)


def test_names_are_checked_first() -> None:
    source = ListSource([], name="no good")
    with pytest.raises(InvalidArgumentError, match=r"'no good' of the source: .* with --as"):
        check_names([assignment(source)])
    twice = assignment(ListSource([]))
    with pytest.raises(InvalidArgumentError, match="would both become"):
        check_names([twice, Assignment(twice.collection, SCOPE, "papers")])


def test_records_are_added_to_a_collection_that_exists(either: Backend) -> None:
    records = some_records(120)
    transfer(ListSource(records[:60]), either)
    options = replace(SMALL, existing="add")
    report = transfer(ListSource(records), either, options)
    assert (report.status, report.existing, report.written) == ("added", 60, 60)
    assert report.is_faithful
    check_stored(stored(either, "papers"), records)

    changed = some_records(120)
    changed[7].document = "another"
    changed[8].embedding = np.ones(3, np.float32)
    report = transfer(ListSource(changed), either, options)
    assert {loss.id for loss in report.losses} == {"id-7", "id-8"}
    assert stored(either, "papers").documents[7] == records[7].document  # type: ignore[index]


def test_a_collection_is_replaced_when_the_new_one_is_complete(either: Backend) -> None:
    transfer(ListSource(some_records(10)), either)
    records = some_records(120, seed=2)
    options = replace(SMALL, existing="replace")
    with pytest.raises(ChromaError):
        transfer(ListSource(records, before=failing_at(100)), either, options)
    assert len(stored(either, "papers").ids) == 10
    assert transfer(ListSource(records), either, options).is_faithful
    assert names(either) == ["papers"]
    check_stored(stored(either, "papers"), records)


@pytest.mark.parametrize("after", [1, 2])
def test_a_replacement_that_ends_between_two_renames_is_completed(
    over_http: Backend, after: int
) -> None:
    """The process dies after it set the old collection aside, or before it deleted it."""
    old, new = some_records(10), some_records(20, seed=2)
    transfer(ListSource(old), over_http)
    options = replace(SMALL, existing="replace")
    steps = iter(range(10))

    class Killed(BaseException):
        pass

    def before(operation: Operation[Any]) -> None:
        is_step = isinstance(operation, ModifyCollection | DeleteCollection)
        if is_step and next(steps) >= after:
            raise Killed

    with pytest.raises(Killed):
        transfer(ListSource(new), WrappedServer(over_http, before), options)
    assert transfer(ListSource(new), over_http, options).is_faithful
    assert names(over_http) == ["papers"]
    check_stored(stored(over_http, "papers"), new)


def test_the_old_collection_returns_if_the_new_one_cannot_be_renamed(over_http: Backend) -> None:
    transfer(ListSource(some_records(10)), over_http)
    renames = iter(range(10))

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, ModifyCollection) and next(renames) == 1:
            raise InternalError("no")

    with pytest.raises(ChromaError):
        transfer(
            ListSource(some_records(20)), WrappedServer(over_http, before),
            replace(SMALL, existing="replace"),
        )  # fmt: skip
    assert len(stored(over_http, "papers").ids) == 10


def test_a_replacement_that_is_refused_changes_nothing(backend: Backend) -> None:
    transfer(ListSource(some_records(10)), backend)

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, ReplaceCollection):
            raise InternalError("no")

    options = replace(SMALL, existing="replace")
    with pytest.raises(ChromaError, match="the same command continues there"):
        transfer(ListSource(some_records(20)), Wrapped(backend, before), options)
    assert len(stored(backend, "papers").ids) == 10
    assert transfer(ListSource(some_records(20)), backend, options).resumed == 20
    assert names(backend) == ["papers"]


def test_a_lost_answer_does_not_end_a_replacement(backend: Backend) -> None:
    transfer(ListSource(some_records(10)), backend)

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, ReplaceCollection):
            backend.execute(operation)
            raise OutcomeUnknownError("the connection was lost")

    options = replace(SMALL, existing="replace")
    assert transfer(ListSource(some_records(20)), Wrapped(backend, before), options).is_faithful
    assert len(stored(backend, "papers").ids) == 20


def test_only_the_collection_that_was_found_is_replaced(backend: Backend) -> None:
    transfer(ListSource(some_records(10)), backend)

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, ReplaceCollection):
            # Another program replaces it first.
            backend.execute(DeleteCollection(SCOPE, "papers"))
            transfer(ListSource(some_records(15, seed=3)), backend)

    options = replace(SMALL, existing="replace")
    with pytest.raises(ChromaError, match="is not called papers now"):
        transfer(ListSource(some_records(20)), Wrapped(backend, before), options)
    assert len(stored(backend, "papers").ids) == 15


# --- Records that the target refuses ----------------------------------------------------------


def refusing(*ids: str) -> Callable[[Operation[Any]], None]:
    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords) and not set(ids).isdisjoint(operation.records.ids):
            raise InvalidArgumentError("not this one")

    return before


def test_refused_records_are_found_and_the_others_written(backend: Backend) -> None:
    records = some_records(150)
    report = transfer(ListSource(records), Wrapped(backend, refusing("id-60", "id-61", "id-149")))
    assert [(loss.id, loss.reason) for loss in report.losses] == [
        (id, "the target refuses it: not this one") for id in ("id-60", "id-61", "id-149")
    ]
    assert (report.written, report.differing) == (147, ())
    kept = [each for each in records if each.id not in {"id-60", "id-61", "id-149"}]
    check_stored(stored(backend, "papers"), kept)


def test_a_target_that_refuses_every_record_ends_the_transfer(backend: Backend) -> None:
    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords):
            raise InternalError("the disk is on fire")

    with pytest.raises(ChromaError, match="on fire"):
        transfer(ListSource(some_records(500)), Wrapped(backend, before))


def test_repeated_ids_are_reported_across_batches(backend: Backend) -> None:
    records = some_records(130)
    doubled = [*records, Record("id-3", document="again"), *some_records(2), Record("last")]
    report = transfer(ListSource(doubled), backend)
    assert sorted(str(loss.id) for loss in report.losses) == ["id-0", "id-1", "id-3"]
    assert report.differing == ()
    check_stored(stored(backend, "papers"), [*records, Record("last")])


def test_the_dimension_is_that_of_the_first_embedding(backend: Backend) -> None:
    records = [Record("a", np.ones(3, np.float32)), Record("b", np.ones(4, np.float32))]
    report = transfer(ListSource(records), backend)
    assert [(loss.part, loss.id) for loss in report.losses] == [("embedding", "b")]
    assert stored(backend, "papers").ids == ["a", "b"]


# --- Verification -----------------------------------------------------------------------------


def test_a_collection_that_differs_keeps_its_temporary_name(backend: Backend) -> None:
    records = some_records(60)

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords):
            documents = list(operation.records.documents or [])
            documents[3] = "forged"
            object.__setattr__(
                operation, "records", replace(operation.records, documents=documents)
            )

    report = transfer(ListSource(records), Wrapped(backend, before))
    assert (report.status, report.differing) == ("unverified", ("documents",))
    assert {loss.id for loss in report.losses} == {"id-3", "id-53"}
    (name,) = names(backend)
    assert is_temporary(name)
    assert report.target.endswith(name)
    assert transfer(ListSource(records), backend).is_faithful
    assert names(backend) == ["papers"]


class Rounding(Wrapped):
    """A backend that returns numbers as Chroma's server does."""

    def execute(self, operation: Operation[Any]) -> Any:
        answer = super().execute(operation)
        if isinstance(operation, GetRecords) and answer.embeddings is not None:
            lengths = np.linalg.norm(answer.embeddings, axis=1, keepdims=True)
            metadatas = [
                {**each, "float": float(np.nextafter(each["float"], each["float"] * 2))}
                if each
                else each
                for each in answer.metadatas
            ]
            return replace(answer, embeddings=answer.embeddings / lengths, metadatas=metadatas)
        return answer


def test_a_target_that_rounds_is_told_apart_from_one_that_differs(backend: Backend) -> None:
    records = some_records(40)
    rounding = Rounding(backend, lambda _: None)
    cosine = {"configuration": {"hnsw": {"space": "cosine"}}}
    report = transfer(ListSource(records, details=cosine), rounding)
    assert (report.status, report.differing) == ("complete", ())
    assert {loss.reason for loss in report.losses} == {
        "the target rounds the last digit of floats",
        "the target keeps embeddings at length 1, because the distance is cosine",
    }
    assert not report.is_faithful
    with suppress(ChromaError):
        backend.execute(DeleteCollection(SCOPE, "papers"))
    report = transfer(ListSource(records), rounding)
    assert (report.status, report.differing) == ("unverified", ("embeddings",))


def test_missing_embeddings_are_computed_from_documents(backend: Backend) -> None:
    vectors = np.eye(384, dtype=np.float32)
    records = [Record(f"id-{n}", vectors[n], f"text {n}") for n in range(4)]
    records[1].embedding = records[2].embedding = records[3].embedding = None
    records[3].document = None
    details = {
        "configuration": {"embedding_function": {"type": "known", "name": "default", "config": {}}}
    }
    losses = [Loss("embedding", "it is missing", "id-1"), Loss("embedding", "gone", "id-3")]
    source = ListSource(records, details=details, losses=losses)
    report = transfer(source, backend, replace(SMALL, is_embedding=True))
    assert (report.embedded, [loss.id for loss in report.losses]) == (2, ["id-3"])
    found = stored(backend, "papers").embeddings
    assert found is not None
    assert np.isclose(np.linalg.norm(found[1]), 1, atol=1e-5)
    assert np.isnan(found[3]).all()


def test_embedding_needs_a_function_that_can_be_trusted(backend: Backend) -> None:
    options = replace(SMALL, is_embedding=True)
    records = [Record("a", None, "text")]
    with pytest.raises(ChromaError, match="does not store an embedding function; name one"):
        transfer(ListSource(records), backend, options)
    config = {"api_base": "http://evil.example", "api_key_env_var": "HOME"}
    function = {"type": "known", "name": "openai", "config": config}
    details = {"configuration": {"embedding_function": function}}
    with pytest.raises(ChromaError, match="does not apply by default"):
        transfer(ListSource(records, details=details), backend, options)
    report = transfer(ListSource(records), backend, replace(options, embedding_function="default"))
    assert (report.embedded, report.is_faithful) == (1, True)


# --- Names ------------------------------------------------------------------------------------


def test_temporary_names_are_valid_and_depend_on_everything() -> None:
    for name in ("abc", "x" * 512, "a" * 43 + "..b"[1:], "tenant+topology"):
        made = temporary_name(name, ("source", "key"))
        assert len(made) <= 63
        assert is_temporary(made)
        assert made == temporary_name(name, ("source", "key"))
        assert made != temporary_name(name, ("source", "other"))
        check_names([Assignment(ListSource([]).collections()[0], SCOPE, made)])
    assert not is_temporary("papers.importing-2026")
    assert not is_temporary("importing-0123abcd")


def test_another_option_begins_another_collection(backend: Backend) -> None:
    records = some_records(100)
    with pytest.raises(ChromaError):
        transfer(ListSource(records, before=failing_at(50)), backend)
    report = transfer(ListSource(records), backend, replace(SMALL, nested="json"))
    assert report.resumed == 0
    assert len(names(backend)) == 2


def test_a_batch_has_at_most_what_the_target_takes(backend: Backend) -> None:
    sizes: list[int] = []

    class Small(Wrapped):
        def limits(self) -> Limits:
            return Limits(30)

    def before(operation: Operation[Any]) -> None:
        if isinstance(operation, AddRecords):
            sizes.append(len(operation.records))

    assert transfer(ListSource(some_records(100)), Small(backend, before)).is_faithful
    assert sizes == [30, 30, 30, 10]
