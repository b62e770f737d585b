"""``pgchroma compact``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

import pgchroma
from pgchroma.cli import main
from pgchroma.compactor import once, passes
from tests.commands import runner
from tests.compactor.conftest import (
    QUIET,
    as_numbered,
    assert_at_rest,
    assert_right,
    filled,
    indexes,
    more,
    segments,
)


def _run(*arguments: str, **environment: str) -> Result:
    environment.setdefault("PGCHROMA_SEGMENT_BYTES", "0")
    result = runner().invoke(main, ["compact", *arguments], env=environment)
    assert "Traceback" not in result.output
    return result


def test_it_does_what_is_due_and_ends(url: str, client: pgchroma.ClientAPI) -> None:
    collection, small = filled(client, count=900), filled(client, "small", count=20)
    done = _run("--url", url)
    assert done.exit_code == 0
    assert done.stdout == (
        "2 of 2 collections are at rest\n"
        "small: no index for 20 embeddings (640 bytes); one is built from 0 bytes "
        "(PGCHROMA_SEGMENT_BYTES) and 100 embeddings (sync_threshold) on\n"
    )
    assert_at_rest(url, collection)
    assert indexes(url, small) == {}
    more(collection, 105, start=900)
    assert _run("--url", url).exit_code == 0
    assert len(segments(url, collection)) == 2, "one is much longer than the other"
    assert _run("--url", url, "--wait").exit_code == 0
    assert_at_rest(url, collection)
    assert_right(collection, as_numbered((0, 900), (900, 105)))


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_it_says_which_collections_are_too_small_for_an_index(
    url: str, client: pgchroma.ClientAPI, wait: list[str]
) -> None:
    filled(client, "small")
    client.create_collection("empty")
    done = _run("--url", url, *wait, PGCHROMA_SEGMENT_BYTES=str(1 << 23))
    assert done.exit_code == 0
    assert done.stdout == (
        "2 of 2 collections are at rest\n"
        "small: no index for 300 embeddings (9600 bytes); one is built from 8388608 bytes "
        "(PGCHROMA_SEGMENT_BYTES) and 100 embeddings (sync_threshold) on\n"
    )


def test_its_settings_come_from_the_environment(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    assert _run("--url", url, PGCHROMA_SEGMENT_BYTES=str(300 * 32 + 1)).exit_code == 0
    assert indexes(url, collection) == {}
    assert _run("--url", url, PGCHROMA_SEGMENT_BYTES=str(300 * 32)).exit_code == 0
    assert_at_rest(url, collection)


def test_it_works_on_the_data_in_a_directory(tmp_path: Path) -> None:
    with pgchroma.PersistentClient(tmp_path / "data", QUIET) as client:
        collection = filled(client)
        assert collection.get_indexing_status().num_unindexed_ops == 300
        done = _run("--path", str(tmp_path / "data"), "--wait")
        assert (done.exit_code, done.stdout) == (0, "1 of 1 collections are at rest\n")
        assert collection.get_indexing_status().num_unindexed_ops == 0


def test_it_can_be_told_which_collections(url: str, client: pgchroma.ClientAPI) -> None:
    one, other, third = (filled(client, name) for name in ("one", "other", "third"))
    done = _run("--url", url, "--collection", "one", "--collection", "third")
    assert done.stdout == "2 of 2 collections are at rest\n"
    assert [bool(indexes(url, each)) for each in (one, other, third)] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no database given"),
        (["--url", "postgresql://x", "--path", "y"], "--url and --path exclude each other"),
        (
            ["--url", "{url}", "--collection", "nobody"],
            "--collection nobody: there is no collection of that name",
        ),
        (["--url", "not a url"], "not a database's URL"),
        (["--url", "host=/nowhere dbname=x"], "@/nowhere:5432/x cannot be reached"),
    ],
)
def test_what_it_cannot_work_with_is_said_in_a_line(
    url: str, arguments: list[str], message: str
) -> None:
    done = _run(*[argument.format(url=url) for argument in arguments])
    assert done.exit_code != 0
    assert message in done.stderr


def test_without_a_catalog_it_says_what_to_run(empty_url: str) -> None:
    done = _run("--url", empty_url)
    assert done.exit_code != 0
    assert "pgchroma migrate" in done.stderr


def test_one_collection_that_fails_keeps_no_other_from_its_index(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("one", "other", "third")
    collections = {name: filled(client, name) for name in names}
    create = passes.create_index

    def failing(collection: Any, *rest: Any) -> Any:
        if collection.name == "other":
            raise psycopg.errors.DiskFull("no space left on device")
        return create(collection, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(passes, "create_index", failing)
        done = _run("--url", url)
    assert done.exit_code == 1
    assert done.stdout == "2 of 3 collections are at rest\n"
    assert "Error: other: no space left on device\n" in done.stderr
    assert "no space left" in str(collections["other"].get_indexing_status().error)
    for name in ("one", "third"):
        assert_at_rest(url, collections[name])
    assert _run("--url", url).exit_code == 0
    assert collections["other"].get_indexing_status().error is None
    assert_at_rest(url, collections["other"])


def test_while_another_works_on_a_collection_it_passes_or_waits(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(client)
    key = int.from_bytes(collection.id.bytes[:4], "big", signed=True)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s::int, %s::int)", [0x70676368, key])
        assert _run("--url", url).stdout == "0 of 1 collections are at rest\n"

        def unlock(_: float) -> None:
            other.execute("select pg_advisory_unlock_all()")

        monkeypatch.setattr(once, "sleep", unlock)
        assert _run("--url", url, "--wait").stdout == "1 of 1 collections are at rest\n"
    assert_at_rest(url, collection)
