"""Row locks of updates and deletions, taken in an order that rules out deadlocks.

A first statement locks the records in the order of their ids, as upserts and additions lock
theirs. The second statement, sent with it, changes them. It sees what earlier writers have
committed, so it may see records that the first did not, and waiting for these would break the
order. It locks them only if no other transaction has locked them. Otherwise it changes nothing, and
both statements are sent again. So a write changes all matching records of one snapshot, or none.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

from pgchroma.store.running.steps import Rows, Statement, Steps

__all__ = ("HELD", "IS_HELD", "LOCK", "hold")

LOCK: Final[LiteralString] = """
select count(*)
from (select from {records} as r where {condition} order by r.id for update) as locked
"""

# Compares the current row with the row that the statement sees: if they are the same, the statement
# also sees the embedding that it has to delete.
HELD: Final[LiteralString] = """
seen as materialized (
    select r.seq, r.pos{sparse_held} from {records} as r where {condition}
),
locked as materialized (
    select r.seq, r.pos, r.id{sparse_held}
    from seen as s
    join {records} as r on r.seq = s.seq
    where {condition} and r.pos is not distinct from s.pos{sparse_same}
    for update of r skip locked
),
held as materialized (
    select seq, pos, id, false as is_new{sparse_columns} from locked
    where (select count(*) from locked) = (select count(*) from seen)
)"""

IS_HELD: Final[LiteralString] = "(select count(*) from locked) = (select count(*) from seen)"
"""Whether the change was made; the last column of what the statement returns."""


def hold(*statements: Statement) -> Steps[Rows]:
    """Send a lock and a change until the change is made. Return the rows of the change."""
    while True:
        rows: Any = yield statements
        if rows[0][-1]:
            return rows  # type: ignore[no-any-return]
