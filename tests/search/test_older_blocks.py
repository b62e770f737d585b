"""Blocks of sparse vectors that the previous version made, with one term in each row of weights."""

from __future__ import annotations

import psycopg

import pgchroma
from pgchroma.store.layout.tables import LAYOUT_VERSION
from tests.search.blocks import SCHEMA, assert_all_consistent
from tests.search.rounds import QUIET, Rounds

_OLDER = """
alter table {weights} rename to newer;
create table {weights} (
    block integer not null,
    term bigint not null,
    vectors integer not null,
    greatest real not null,
    weights sparsevec(8192) not null
);
insert into {weights}
select w.block, t.term, t.vectors, t.greatest, t.weights
from {schema}.newer as w
cross join unnest(w.terms, w.vectors, w.greatest, w.weights)
    as t (term, vectors, greatest, weights);
drop table {schema}.newer;
alter table {weights} add constraint {key} primary key (block, term);
update pgchroma.collections set layout_version = 2
"""


def _downgrade(url: str, collection: pgchroma.Collection) -> None:
    with psycopg.connect(url) as connection:
        for number in range(2):
            name = f"sparse_{collection.id.hex}_{number}_weights"
            parts = {"weights": f"{SCHEMA}.{name}", "key": f"{name}_pkey", "schema": SCHEMA}
            connection.execute(_OLDER.format(**parts).encode())


def test_older_blocks_are_built_again(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        rounds = Rounds(url, client)
        rounds.add(400)
        rounds.compact()
        # Some of the removed vectors are in the blocks, and some were never in one.
        rounds.update(60)
        rounds.delete(30)
        rounds.add(40)
        rounds.update(20)
    _downgrade(url, rounds.collection)
    with pgchroma.PostgresClient(url, QUIET) as client:
        rounds.collection = client.get_collection(rounds.collection.name)
        assert rounds.collection.count() == len(rounds.vectors)
        with psycopg.connect(url) as connection:
            assert_all_consistent(connection, rounds.collection.id.hex, 2)
            found = connection.execute("select layout_version from pgchroma.collections")
            assert found.fetchall() == [(LAYOUT_VERSION,)]
            owners = connection.execute(
                "select count(distinct tableowner) from pg_tables where schemaname = %s", [SCHEMA]
            )
            assert owners.fetchall() == [(1,)]
        rounds.check(5, 1, 10, 100)
        rounds.compact()
        rounds.check(5, 1, 10, 100)
        rounds.update(20)
        rounds.delete(20)
        rounds.compact()
        rounds.check(5, 1, 10, 100)
        with psycopg.connect(url) as connection:
            assert_all_consistent(connection, rounds.collection.id.hex, 2)
