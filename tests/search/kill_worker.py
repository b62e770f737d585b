"""A compactor of sparse vectors that is killed: ``python -m tests.search.kill_worker URL COUNT``.

It makes small blocks and kills itself before its statement number COUNT. It exits with 0 if it has
done all of its work before that.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Event
from typing import Any

from pgchroma.compactor import sparse
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store.running._sync import driver
from tests.search.blocks import small_blocks


def _main() -> None:
    _, url, count = sys.argv
    left = int(count)
    execute = driver._execute

    def execute_or_die(*given: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*given)

    with Compaction(url, CompactionSettings(segment_bytes=1 << 40), Event()) as compaction:
        collections = compaction.collections()
        vars(driver).update(_execute=execute_or_die)
        with small_blocks(64):
            for each in collections:
                steps = sparse.compact_sparse(each, is_idle=True, merges_all=True)
                compaction._session.run_interruptible(each, steps)


if __name__ == "__main__":
    _main()
