"""Records deleted or changed during a re-embedding leave no pending embeddings behind."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from tests.reembedding.functions import Hashed
from tests.reembedding.test_writes_during_reembedding import _client, _filled, _Slow

SCHEMA = "default_tenant__default_database"


def _left_behind(url: str, collection: pgchroma.Collection) -> dict[str, int]:
    """How many embeddings in each of a collection's tables belong to no record."""
    key = collection.id.hex
    with psycopg.connect(url) as plain:
        tables = plain.execute(
            "select relname::text from pg_class where relkind = 'r' and relname ~ %s",
            [f"^(vectors|spare)_{key}"],
        ).fetchall()
        counts = {}
        for (table,) in tables:
            row = plain.execute(
                f"select count(*) from {SCHEMA}.{table} as v where not exists (select from "
                f"{SCHEMA}.records_{key} as r where r.seq = v.seq and r.pos = v.pos)"
            ).fetchone()
            assert row is not None
            counts[table.partition("_")[0]] = int(row[0])
    return counts


def test_who_deletes_and_updates_clears_both_tables(url: str) -> None:
    with (
        _client(url, pgchroma_compaction=False) as client,
        _client(url, pgchroma_compaction=False) as other,
    ):
        collection = _filled(client, Hashed(), 60)
        collection.reembed(Hashed(seed=2, dimension=12), switch=False)
        papers = other.get_collection("papers")
        papers.delete(ids=[f"id{n}" for n in range(10)])
        papers.delete(where_document={"$contains": "text 3"})
        papers.upsert(ids=["id20", "new"], documents=["changed", "new"])
        papers.update(ids=["id21"], documents=["changed, too"])
        assert _left_behind(url, collection) == {"vectors": 0, "spare": 0}
        collection.reembed(Hashed(seed=2, dimension=12))
        # The previous embeddings are kept, and writes clear them too.
        renewed = other.get_collection("papers")
        renewed.delete(ids="id40")
        renewed.update(ids=["id41"], documents=["changed"])
        assert _left_behind(url, collection) == {"vectors": 0, "spare": 0}


def test_the_switch_leaves_nothing_behind_that_a_stale_writer_did_not_clear(url: str) -> None:
    with (
        _client(url, pgchroma_compaction=False) as client,
        _client(url, pgchroma_compaction=False) as stale,
    ):
        collection = _filled(client, Hashed(), 60)
        papers = stale.get_collection("papers")
        papers.upsert(ids=["id0"], documents=["before"])
        new = Hashed(seed=2, dimension=12)
        collection.reembed(new, switch=False)
        # It writes without a look-up first, and so does not know the table of pending embeddings.
        papers.upsert(ids=[f"id{n}" for n in range(20)], documents=["changed"] * 20)
        assert _left_behind(url, collection) == {"vectors": 0, "spare": 20}
        collection.reembed(new)
        assert _left_behind(url, collection)["vectors"] == 0
        assert collection.count() == 60


def test_deletes_during_a_reembedding_leave_nothing_behind(url: str) -> None:
    with (
        _client(url, pgchroma_compaction=False) as client,
        _client(url, pgchroma_compaction=False) as other,
    ):
        collection = _filled(client, Hashed())
        papers = other.get_collection("papers")
        stop = threading.Event()

        def delete() -> None:
            for number in range(0, 400, 2):
                if stop.is_set():
                    return
                papers.delete(ids=f"id{number}")

        deleter = threading.Thread(target=delete)
        deleter.start()
        try:
            collection.reembed(_Slow(seed=2, dimension=12), batch_size=20, sample=5)
        finally:
            stop.set()
            deleter.join()
        assert _left_behind(url, collection)["vectors"] == 0


def test_a_user_who_may_write_embeddings_may_clear_pending_ones(url: str) -> None:
    with _client(url, pgchroma_compaction=False) as client, psycopg.connect(url) as owner:
        collection = _filled(client, Hashed(), 20)
        owner.autocommit = True
        role = f"writer_{collection.id.hex[:12]}"
        for statement in (
            f"create role {role} login",
            f"grant usage on schema pgchroma, {SCHEMA} to {role}",
            f"grant select on all tables in schema pgchroma to {role}",
            f"grant select, insert, update, delete on all tables in schema {SCHEMA} to {role}",
            f"grant usage on all sequences in schema {SCHEMA} to {role}",
        ):
            owner.execute(statement)
        try:
            collection.reembed(Hashed(seed=2, dimension=12), switch=False)
            settings = pgchroma.Settings(pgchroma_compaction=False, migrations="validate")
            with pgchroma.PostgresClient(make_conninfo(url, user=role), settings) as writer:
                papers: Any = writer.get_collection("papers", embedding_function=None)
                papers.delete(ids="id1")
                papers.update(ids="id2", embeddings=[1.0] * 8)
            assert _left_behind(url, collection) == {"vectors": 0, "spare": 0}
        finally:
            owner.execute(f"drop owned by {role}; drop role {role}".encode())


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_delete_in_the_callers_transaction_clears_both(url: str, ending: str) -> None:
    from sqlalchemy import create_engine  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with _client(url, pgchroma_compaction=False) as client, engine.connect() as connection:
        collection = _filled(client, Hashed(), 20)
        collection.reembed(Hashed(seed=2, dimension=12), switch=False)
        pgchroma.PostgresClient(connection).get_collection("papers").delete(ids=["id1", "id2"])
        getattr(connection, ending)()
        assert _left_behind(url, collection) == {"vectors": 0, "spare": 0}
        assert collection.count() == (18 if ending == "commit" else 20)
    engine.dispose()
