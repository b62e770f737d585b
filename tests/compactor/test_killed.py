"""The compactor killed at any step: answers stay right, and the next one completes the work."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma.cli import main
from pgchroma.compactor import once, planner
from tests.commands import runner
from tests.compactor.conftest import (
    as_numbered,
    assert_at_rest,
    assert_right,
    filled,
    indexes,
    lasting_builds,
    more,
)
from tests.server_process import eventually

STEPS = [
    ("inspect", "before", 0.0),
    ("inspect", "during", 0.001),
    ("reconcile", "before", 0.0),
    ("delete from", "after", 0.0),
    ("announce_build", "before", 0.0),
    ("announce_build", "after", 0.0),
    ("create index", "during", 0.0),
    ("create index", "during", 0.05),
    ("create index", "during", 0.1),
    ("create index", "after", 0.0),
    ("finish_build", "after", 0.0),
    ("analyze", "before", 0.0),
    ("drop index", "before", 0.0),
    ("drop index", "during", 0.0),
    ("drop index", "after", 0.0),
    ("vacuum (index_cleanup", "during", 0.0),
    ("vacuum (index_cleanup", "after", 0.0),
    ("set_secondary", "before", 0.0),
    ("set_secondary", "after", 0.0),
    ("with folded", "before", 0.0),
    ("with folded", "during", 0.0),
    ("unlock_collection", "before", 0.0),
]
QUICK = [STEPS[n] for n in (1, 5, 7, 9, 10, 13, 15, 17, 20)]
"""One of each phase."""


class Rounds:
    """A collection that is written to, compacted, killed and looked at, again and again."""

    def __init__(self, url: str, client: pgchroma.ClientAPI) -> None:
        self.url = url
        self.collection = filled(client, count=400)
        self.records = as_numbered((0, 400))
        self.next = 400

    def write(self) -> None:
        """Leave a due tail, dead entries, missing secondary indexes and many counts."""
        more(self.collection, 150, self.next)
        self.records |= as_numbered((self.next, 150))
        self.next += 150
        gone = random.Random(self.next).sample(sorted(self.records), 120)
        self.collection.delete(ids=gone[:60])
        for id in gone[:60]:
            del self.records[id]
        moved = {id: np.float32(-1) * self.records[id] for id in gone[60:]}
        self.collection.update(ids=list(moved), embeddings=list(moved.values()))
        self.records |= moved
        with psycopg.connect(self.url) as plain:
            for name in indexes(self.url, self.collection):
                if "_by_" in name:
                    plain.execute(f"drop index default_tenant__default_database.{name}")
            plain.execute(
                "insert into pgchroma.secondary_indexes (collection_id, kind, key, asked) "
                "values (%s, 'number', 'number', 10) on conflict do nothing",
                [self.collection.id],
            )
            plain.execute(
                f"insert into default_tenant__default_database.counts_{self.collection.id.hex} "
                "select -n - (select last_value from default_tenant__default_database.log_"
                f"{self.collection.id.hex}), case when n % 2 = 0 then 1 else -1 end "
                "from generate_series(1, 100) as n",
            )

    def kill(self, step: str, when: str = "during", seconds: float = 0.0) -> None:
        """Have a compactor killed at a step."""
        command = [sys.executable, "-m", "tests.compactor.kill_worker"]
        done = subprocess.run(
            [*command, self.url, step, when, str(seconds)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == -9 or (step == "any" and not done.returncode), done.stderr
        assert_right(self.collection, self.records)

    def finish(self) -> None:
        """Have the next one do the rest."""
        environment = {"PGCHROMA_SEGMENT_BYTES": "0"}
        done = runner().invoke(main, ["compact", "--url", self.url, "--wait"], env=environment)
        assert done.exit_code == 0, done.output
        assert "1 of 1 collections" in done.output
        assert_at_rest(self.url, self.collection)
        names = indexes(self.url, self.collection)
        assert [valid for name, valid in names.items() if "_by_" in name] == [True]
        assert_right(self.collection, self.records)


@pytest.fixture
def rounds(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rounds]:
    """A collection with one segment."""
    monkeypatch.setattr(once, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(planner, "MIN_INDEXED", 100)
    prepared = Rounds(url, client)
    prepared.write()
    prepared.finish()
    yield prepared


@pytest.mark.heavy
def test_killed_in_each_phase_it_leaves_nothing_and_the_next_one_ends_it(rounds: Rounds) -> None:
    for step in QUICK:
        rounds.write()
        rounds.kill(*step)
        rounds.finish()


@pytest.mark.heavy
def test_killed_again_and_again_before_it_ends(rounds: Rounds) -> None:
    rounds.write()
    for step in (("create index", "during", 0.03), ("create index", "after"), ("with folded",)):
        rounds.kill(*step)
    rounds.finish()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fifty_times_over(rounds: Rounds) -> None:
    chance = random.Random(4)
    anywhere = [("any", "during", chance.uniform(0.3, 1.5)) for _ in range(50 - len(STEPS))]
    for step in STEPS + anywhere:
        rounds.write()
        rounds.kill(*step)
        rounds.finish()


@pytest.mark.heavy
@pytest.mark.parametrize("is_cancelled", [True, False])
def test_its_connection_ended_while_it_builds(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any], is_cancelled: bool
) -> None:
    collection = filled(client)
    with lasting_builds(url) as is_building:
        command = [sys.executable, "-m", "tests.compactor.kill_worker", url, "never", "before", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as working:
            eventually(is_building)
            end = "pg_cancel_backend" if is_cancelled else "pg_terminate_backend"
            superuser.execute(f"select {end}(pid) from pg_stat_progress_create_index")
            _, errors = working.communicate(timeout=30)
    assert working.returncode == 1
    assert ("QueryCanceled" if is_cancelled else "AdminShutdown") in errors
    assert_right(collection, as_numbered((0, 300)))
    # A cancelled build removes its leftovers itself.
    assert list(indexes(url, collection).values()) == ([] if is_cancelled else [False])
    done = runner().invoke(
        main, ["compact", "--url", url, "--wait"], env={"PGCHROMA_SEGMENT_BYTES": "0"}
    )
    assert done.exit_code == 0, done.output
    assert_at_rest(url, collection)
    assert_right(collection, as_numbered((0, 300)))
