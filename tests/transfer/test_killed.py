"""An import whose process is killed at any of its writes: nothing is visible, and it continues."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgchroma.model.operations import DeleteCollection
from pgchroma.transfer.importing import import_collection
from pgchroma.transfer.naming import is_temporary
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.writers.backend import BackendTarget
from tests.transfer.sources import (
    SCOPE,
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


# An import writes seven times: it creates the collection, adds four batches and renames it, and
# with a collection to replace it also sets that aside and deletes it.
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


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_a_killed_replacement_continues(url: str, number: int) -> None:
    """The old collection or the new one is there under the name, or the next run completes it."""
    old = some_records(30, seed=9)
    with opened(url) as backend:
        source = ListSource(old)
        import_collection(source, BackendTarget(backend), assignment(source), TransferOptions())
    kill(url, number, "before", "replace")
    records = some_records(RECORDS)
    with opened(url) as backend:
        if "papers" in names(backend):
            assert len(stored(backend, "papers").ids) in (30, RECORDS)
        source = ListSource(records)
        options = TransferOptions(batch_size=100, existing="replace")
        report = import_collection(source, BackendTarget(backend), assignment(source), options)
        assert report.is_faithful
        assert names(backend) == ["papers"]
        check_stored(stored(backend, "papers"), records)
        backend.execute(DeleteCollection(SCOPE, "papers"))
