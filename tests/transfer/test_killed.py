"""An import whose process is killed at any of its writes: nothing is visible, and it continues."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgchroma.transfer.importing import import_collection
from pgchroma.transfer.naming import is_temporary
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.writers.backend import BackendTarget
from tests.transfer.sources import (
    ListSource,
    assignment,
    check_stored,
    names,
    opened,
    some_records,
    stored,
)

pytestmark = pytest.mark.heavy

RECORDS = 400


def kill(place: str, number: int, moment: str, existing: str) -> None:
    """Run an import that kills itself at a write, before or after the target executes it."""
    command = [
        sys.executable, "-m", "tests.transfer.killed", place, str(number), moment, existing,
    ]  # fmt: skip
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


# An import writes six times: it creates the collection, adds four batches and renames it. At a
# server it also sets the collection to replace aside before that, and deletes it afterwards.
@pytest.mark.parametrize(
    ("place", "number", "moment"),
    [
        ("url", 0, "after"), ("url", 1, "after"), ("url", 3, "before"), ("url", 4, "after"),
        ("url", 5, "before"), ("emptied", 2, "after"), ("emptied", 5, "before"),
    ],
)  # fmt: skip
def test_a_killed_import_continues(
    place: str, number: int, moment: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(place)
    kill(url, number, moment, "refuse")
    records = some_records(RECORDS)
    with opened(url) as backend:
        assert all(map(is_temporary, names(backend)))
        source = ListSource(records)
        options = TransferOptions(batch_size=100)
        report = import_collection(source, BackendTarget(backend), assignment(source), options)
        assert report.is_faithful
        stored_before = min(number + (moment == "after") - 1, 4) * 100
        assert report.resumed == max(stored_before, 0)
        assert names(backend) == ["papers"]
        check_stored(stored(backend, "papers"), records)


def replace_after_kill(place: str, number: int, moment: str) -> list[str]:
    """Kill an import that replaces a collection, and run it again; return what names it left."""
    old, records = some_records(30, seed=9), some_records(RECORDS)
    with opened(place) as backend:
        source = ListSource(old)
        import_collection(source, BackendTarget(backend), assignment(source), TransferOptions())
    kill(place, number, moment, "replace")
    with opened(place) as backend:
        left = names(backend)
        if "papers" in left:
            there = stored(backend, "papers")
            check_stored(there, old if len(there.ids) == len(old) else records)
        source = ListSource(records)
        options = TransferOptions(batch_size=100, existing="replace")
        report = import_collection(source, BackendTarget(backend), assignment(source), options)
        assert report.is_faithful
        assert names(backend) == ["papers"]
        check_stored(stored(backend, "papers"), records)
    return left


@pytest.mark.parametrize(
    ("number", "moment"),
    # The transaction has six steps, and then it is committed.
    [(5, "before"), *((step, "within") for step in range(7)), (5, "after")],
)
def test_a_killed_replacement_leaves_the_old_or_the_new_collection(
    url: str, number: int, moment: str
) -> None:
    assert "papers" in replace_after_kill(url, number, moment)


@pytest.mark.parametrize(
    ("number", "leaves_a_gap"), [(5, False), (6, False), (7, True), (8, False)]
)
def test_a_killed_replacement_at_a_server_continues(
    emptied: str, number: int, leaves_a_gap: bool
) -> None:
    left = replace_after_kill(emptied, number, "before")
    assert ("papers" not in left) == leaves_a_gap
    assert left == ["papers"] or any(map(is_temporary, left))
