"""The part that measures a peer's memory at rest, in a process that has only searched."""

from __future__ import annotations

from scale.session import Measures, Session, timed
from scale.sizes import peak


def memory(session: Session, _: int) -> Measures:
    """Search once for each query, then weigh this process and the peer's others, in MB."""
    timed(session.peer.search(query) for query in session.queries)
    weights = list(session.processes.weights())
    results: Measures = {"client, peak": peak(), "all, PSS": sum(w.pss for w in weights)}
    if servers := [weight.pss for weight in weights if weight.name == "postgres"]:
        results["PostgreSQL, PSS"] = sum(servers)
    return results
