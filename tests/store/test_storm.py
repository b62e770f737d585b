"""Processes that write the same records, are killed at any moment, and are started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from tests.server_process import eventually
from tests.store.storming import GROUPS, Deed, after, state_of

WRITERS = 5
SECONDS = float(os.environ.get("STORM_SECONDS", "20"))

State = tuple[str, str | None] | None


class Writer:
    """A process, and those that replace it in turn.

    Attributes:
        state: The state of its own group when it was last checked.
    """

    def __init__(self, url: str, number: int, directory: Path) -> None:
        self.state: State = None
        self._number, self._seed = number, 0
        self._name = f"storm {number}"
        self._url = make_conninfo(url, application_name=self._name)
        self._output, self._errors = directory / f"{number}.out", directory / f"{number}.err"
        self._start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._process

    def kill(self, papers: Any, url: str) -> None:
        """Kill it; check that all acknowledged writes are there, and nothing it had not begun."""
        assert self._process.poll() is None, self._errors.read_text()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        eventually(lambda: not self._is_served(url))
        possible = self._possible()
        self.state = state_of(papers, f"own{self._number}")
        assert self.state in possible, (self._number, self.state, possible)

    def restart(self) -> None:
        self._seed += 1
        self._start()

    def _start(self) -> None:
        command = ["tests.store.storming", self._url, str(self._number), str(self._seed)]
        with self._output.open("wb") as output, self._errors.open("wb") as problems:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=output, stderr=problems
            )

    def _possible(self) -> list[State]:
        """The possible states of the group: the last write may have taken effect or not."""
        states = [self.state]
        # A line that was cut off is of a deed that was not begun.
        for line in self._output.read_text().split("\n")[:-1]:
            if line == "done":
                states = states[-1:]
            else:
                states = [states[-1], after(states[-1], Deed(**json.loads(line)))]
        return states

    def _is_served(self, url: str) -> bool:
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "select exists (select from pg_stat_activity where application_name = %s)",
                [self._name],
            ).fetchone()
        return row == (True,)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_torn_doubled_or_stuck(url: str, tmp_path: Path) -> None:
    chance = random.Random(11)
    with pgchroma.PostgresClient(url) as client:
        papers = client.create_collection("papers", embedding_function=None)
        writers = [Writer(url, number, tmp_path) for number in range(WRITERS)]
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                time.sleep(chance.uniform(0.2, 1.5))
                writer = chance.choice(writers)
                writer.kill(papers, url)
                writer.restart()
            for writer in writers:
                writer.kill(papers, url)
        finally:
            for writer in writers:
                writer.process.kill()
                writer.process.wait()
        states = [state_of(papers, f"all{number}") for number in range(GROUPS)]
        states += [writer.state for writer in writers]
        records = papers.get(include=[])["ids"]
        assert len(records) == papers.count() == 5 * sum(state is not None for state in states)
        key = papers.id.hex
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(
            f"select count(*) filter (where v.pos is null), count(*) filter (where r.pos is null) "
            f"from default_tenant__default_database.records_{key} as r "
            f"full join default_tenant__default_database.vectors_{key} as v on v.pos = r.pos"
        ).fetchone() == (0, 0)
        assert connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchone() == (0,)
