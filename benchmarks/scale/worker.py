"""One peer's process: executes parts on request, and answers with the measurements.

Run as ``python -m scale.worker PEER DIRECTORY DATA`` with `benchmarks` on the path. Reads lines of
JSON, ``[part, number]``, and answers each with one, ``{"result": …}`` or ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from scale.concurrency import concurrency, ingesting
from scale.loading import batches, load
from scale.memory import memory
from scale.reading import by_ids, count, curve, documents, fifty, filters, query
from scale.session import Measures, Session
from scale.writing import churn, upsert


def settle(session: Session, _: int) -> Measures:
    """Wait until the peer has come to rest."""
    session.settle()
    return {}


def drop(session: Session, _: int) -> Measures:
    """Delete the collection, and wait until the peer has come to rest."""
    session.peer.drop()
    session.rest()
    return {}


PARTS = {
    part.__name__: part
    for part in (
        *(load, batches, settle, memory, drop),
        *(query, curve, fifty, filters, documents, by_ids, count, concurrency),
        *(upsert, churn, ingesting),
    )
}


def main() -> None:
    """Work until the standard input ends."""
    # Libraries may print to standard output, so the answers use a separate stream.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, directory, place = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    session = Session(name, directory, place)
    for line in sys.stdin:
        part, number = json.loads(line)
        answer: dict[str, Measures | str]
        try:
            answer = {"result": PARTS[part](session, number)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    session.peer.close()


if __name__ == "__main__":
    main()
