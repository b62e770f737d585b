"""An import that kills its own process, as the test says; `test_killed` runs it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pgchroma.backends._sync.http import HttpBackend
from pgchroma.model.operations import Operation, ReplaceCollection
from pgchroma.store import collections
from pgchroma.store.running.steps import Steps
from pgchroma.transfer.importing import import_collection
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.writers.backend import BackendTarget
from tests.transfer.sources import ListSource, assignment, opened, some_records


class Deadly:
    """A backend that kills the process at one of its operations that write."""

    def __init__(self, backend: Any, number: int, is_after: bool) -> None:
        self._backend = backend
        self._left = number
        self._is_after = is_after

    in_caller_transaction = False

    def execute(self, operation: Operation[Any]) -> Any:
        if not operation.only_reads:
            self._left -= 1
        is_last = self._left < 0 and not operation.only_reads
        if is_last and not self._is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = self._backend.execute(operation)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def limits(self) -> Any:
        return self._backend.limits()

    def close(self) -> None:
        self._backend.close()


class DeadlyOverHttp(Deadly, HttpBackend):
    """The same for a server, which has fewer operations."""


def kill_in_replacement(number: int) -> None:
    """Kill the process before a step of the transaction that replaces a collection."""
    replace = collections._replace

    def deadly(operation: ReplaceCollection) -> Steps[None]:
        steps, answer = replace(operation), None
        for left in range(number, -1, -1):
            try:
                step = steps.send(answer)
            except StopIteration:
                break  # the transaction is to be committed next
            if left:
                answer = yield step
        os.kill(os.getpid(), signal.SIGKILL)

    collections._replace = deadly


def main(place: str, number: int, moment: str, existing: Any) -> None:
    source = ListSource(some_records(400))
    options = TransferOptions(batch_size=100, existing=existing)
    with opened(place) as backend:
        target: Any = backend
        if moment == "within":
            kill_in_replacement(number)
        else:
            kind = DeadlyOverHttp if isinstance(backend, HttpBackend) else Deadly
            target = kind(backend, number, moment == "after")
        import_collection(source, BackendTarget(target), assignment(source), options)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
