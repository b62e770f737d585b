"""Collections of the layout before compaction, brought along with their data."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.catalog.upgrade import upgrade
from pgchroma.store.layout import upgrading
from pgchroma.store.layout.tables import LAYOUT_VERSION
from tests.compactor.conftest import (
    DIMENSION,
    QUIET,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    more,
    searching,
    vectors,
)
from tests.older_layouts import SCHEMA, layouts, to_revision_0003


@pytest.fixture
def older(url: str) -> Callable[[Callable[[Any], None]], str]:
    """Creates data, and turns its database into one of the previous version."""

    def make(fill: Callable[[Any], None]) -> str:
        with pgchroma.PostgresClient(url, QUIET) as client:
            fill(client)
        to_revision_0003(url)
        return url

    return make


def test_collections_are_brought_along_with_their_counts_and_views(
    older: Callable[..., str],
) -> None:
    def fill(client: pgchroma.ClientAPI) -> None:
        filled(client, "plain").delete(ids=["0", "1"])
        filled(client, "cosine", space="cosine").add(
            ids="zero", embeddings=np.zeros((1, DIMENSION), dtype=np.float32)
        )
        client.create_collection("empty")
        filled(client, "counts_of-sheep", count=3)
        filled(client, "counts_" + "x" * 60, count=3)

    url = older(fill)
    with pytest.raises(errors.VersionMismatchError, match="pgchroma migrate"):
        pgchroma.PostgresClient(url, QUIET.model_copy(update={"migrations": "validate"}))
    with pgchroma.PostgresClient(searching(url), QUIET) as client:
        # The start upgrades the catalog only.
        assert layouts(url) == {1}
        plain, cosine = client.get_collection("plain"), client.get_collection("cosine")
        records = {id: row for id, row in as_numbered((0, 300)).items() if id not in ("0", "1")}
        assert_right(plain, records)
        assert (cosine.count(), client.get_collection("empty").count()) == (301, 0)
        more(plain, 10, start=300)
        plain.delete(ids=["2"])
        assert plain.count() == 307
        compact(url)
        assert_at_rest(url, plain)
        assert_at_rest(url, cosine)
        found = cosine.query(query_embeddings=vectors(1), n_results=301)
        assert found["distances"] is not None
        assert dict(zip(found["ids"][0], found["distances"][0], strict=True))["zero"] == 1.0
        for name in ("counts_of-sheep", "counts_" + "x" * 60):
            collection = client.get_collection(name)
            assert collection.count() == 3
            collection.modify(name="sheep")
            collection.modify(name=name)
            client.delete_collection(name)
        client.get_collection("empty").add(ids="1", embeddings=[1.0])
        client.delete_collection("empty")
    with psycopg.connect(url) as left:
        views = left.execute("select viewname from pg_views where schemaname = %s", [SCHEMA])
        assert sorted(views) == [("cosine",), ("plain",)]
        options = left.execute(
            "select reloptions from pg_class where relname = %s", [f"vectors_{plain.id.hex}"]
        ).fetchone()
        assert options == (["vacuum_index_cleanup=off"],)


def test_an_upgrade_that_was_interrupted_is_gone_on_with(
    older: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "BATCH", 2)

    def fill(client: pgchroma.ClientAPI) -> None:
        for number in range(7):
            filled(client, f"papers-{number}", count=10 + number)

    url = older(fill)
    statements = upgrading.layout_statements
    done: list[Any] = []

    def dying(*given: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(given)
        return (yield from statements(*given))

    with psycopg.connect(url) as plain:
        with monkeypatch.context() as broken:
            broken.setattr(upgrading, "layout_statements", dying)
            with pytest.raises(KeyboardInterrupt):
                upgrade(plain)
        assert layouts(url) == {1, LAYOUT_VERSION}
        upgrade(plain)
    assert layouts(url) == {LAYOUT_VERSION}
    with pgchroma.PostgresClient(url, QUIET) as client:
        for number in range(7):
            assert client.get_collection(f"papers-{number}").count() == 10 + number


def test_two_that_upgrade_at_once_do_it_once(older: Callable[..., str]) -> None:
    url = older(lambda client: [filled(client, f"papers-{n}", count=5) for n in range(4)])

    def count(_: int) -> list[int]:
        with pgchroma.PostgresClient(url, QUIET) as client:
            return [each.count() for each in client.list_collections()]

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(count, range(3))) == [[5] * 4] * 3
