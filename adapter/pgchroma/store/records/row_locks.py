"""How updates and deletions hold the records that are there, without ever deadlocking.

A first statement locks them in the order of their ids, as upserts and additions take theirs. The
second, sent along with it, changes them. It sees what the writers before it have committed, and so
it may see records that came after the first: these would be waited for out of order. It locks them
only if nobody works on them. Otherwise it changes nothing, and both are sent again. So a write
acts on all the records of one moment or on none of them.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

from pgchroma.store.running.steps import Rows, Statement, Steps

__all__ = ("HELD", "IS_HELD", "LOCK", "hold")

LOCK: Final[LiteralString] = """
select count(*)
from (select from {records} as r where {condition} order by r.id for update) as locked
"""

# What is compared is the row as it is now with the row that the statement sees: then it sees its
# embedding, too, which is to be cleared.
HELD: Final[LiteralString] = """
seen as materialized (
    select r.seq, r.pos from {records} as r where {condition}
),
locked as materialized (
    select r.seq, r.pos, r.id
    from seen as s
    join {records} as r on r.seq = s.seq
    where {condition} and r.pos is not distinct from s.pos
    for update of r skip locked
),
held as materialized (
    select seq, pos, id, false as is_new from locked
    where (select count(*) from locked) = (select count(*) from seen)
)"""

IS_HELD: Final[LiteralString] = "(select count(*) from locked) = (select count(*) from seen)"
"""Whether the change was made; the last column of what the statement returns."""


def hold(*statements: Statement) -> Steps[Rows]:
    """Send a lock and a change, again until the change was made; return the change's rows."""
    while True:
        rows: Any = yield statements
        if rows[0][-1]:
            return rows  # type: ignore[no-any-return]
