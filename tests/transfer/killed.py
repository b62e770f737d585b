"""An import that kills its own process, as the test says; `test_killed` runs it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pgchroma.model.operations import Operation
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


def main(place: str, number: int, is_after: bool, existing: Any) -> None:
    source = ListSource(some_records(400))
    options = TransferOptions(batch_size=100, existing=existing)
    with opened(place) as backend:
        deadly = Deadly(backend, number, is_after)
        import_collection(source, BackendTarget(deadly), assignment(source), options)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "after", sys.argv[4])
