"""The switch from a collection's current embeddings to its pending ones."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final, LiteralString

from pgchroma.errors import InvalidArgumentError, UniqueConstraintError
from pgchroma.model.operations import SwitchEmbeddings
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.layout.tables import CollectionTables, swap
from pgchroma.store.reembedding.privileges import copy_grants
from pgchroma.store.reembedding.state import EmbeddingVersions, find_versions, stored_json
from pgchroma.store.running.steps import Statement, Steps, Transaction, render
from pgchroma.store.running.transaction_settings import set_lock_timeout

__all__ = ("switch_embeddings",)

LOCK_TIMEOUT: Final = "500ms"
"""How long the switch waits for sessions that read and write, which in turn queue behind it.

This is less than PostgreSQL's `deadlock_timeout`, so the switch gives way, and not a writer or a
build of an index.
"""


@handles(SwitchEmbeddings)
def switch_embeddings(operation: SwitchEmbeddings, context: StoreContext) -> Steps[int]:
    """Swap the tables while writers are locked out; readers wait only for the swap itself."""
    missing: int = yield Transaction(_switch(operation))
    context.forget_collection(operation.collection)
    return missing


def _switch(operation: SwitchEmbeddings) -> Steps[int]:
    lock_timeout, isolation = (yield Statement(_SETTINGS))[0]
    if isolation != "read committed":
        # The switch could not see what a writer committed while the switch waited for that writer.
        raise InvalidArgumentError(
            "switching to new embeddings requires a transaction of the isolation level read "
            f"committed, not {isolation}"
        )
    versions = yield from find_versions(operation.collection, is_locked=True)
    if versions.is_current(operation.generation):
        return 0
    if versions.is_previous:
        raise UniqueConstraintError(
            f"Collection [{versions.name}] has since switched to other embeddings"
        )
    yield set_lock_timeout(LOCK_TIMEOUT)
    yield Statement(render(_LOCK_RECORDS, records=versions.current.records))
    missing = yield from _await_missing(versions, operation.max_wait)
    if missing == 0:
        # No session can store pending embeddings any more, so no orphans follow the deletion.
        yield Statement(render(_LOCK_SHADOW, **versions.parts))
        yield Statement(render(_DELETE_ORPHANS, **versions.parts))
        yield from _swap(versions, versions.shadow_tables)
    # The caller's transaction continues with its own setting.
    yield set_lock_timeout(lock_timeout)
    return missing


def _await_missing(versions: EmbeddingVersions, max_wait: float) -> Steps[int]:
    """Wait for missing embeddings, at most `max_wait` seconds; return how many still are."""
    # Writers are locked out, so no further positions will be missing.
    positions = (yield Statement(render(_MISSING, **versions.parts)))[0][0]
    missing = len(positions)
    text = render(_STILL_MISSING, **versions.parts)
    until = time.monotonic() + max_wait
    while missing and time.monotonic() < until:
        yield Statement(_SLEEP)
        missing = (yield Statement(text, {"positions": positions}))[0][0]
    return missing


def _swap(versions: EmbeddingVersions, shadow: CollectionTables) -> Steps[None]:
    yield from copy_grants(versions, shadow)
    yield swap(versions.current, shadow, versions.name, versions.configuration.filterable)
    # Other changes of the configuration since the start of the re-embedding are kept.
    new = versions.shadow_configuration
    configuration = replace(
        versions.configuration,
        hnsw=replace(versions.configuration.hnsw, space=new.hnsw.space),
        embedding_function=new.embedding_function,
    )
    yield Statement(
        _SET_CURRENT,
        {
            "id": shadow.id,
            "generation": shadow.generation,
            "dimension": versions.shadow_dimension,
            "configuration": stored_json(configuration),
        },
    )
    yield Statement(
        _SET_PREVIOUS,
        {
            "id": shadow.id,
            "generation": versions.current.generation,
            "dimension": versions.dimension,
            "configuration": stored_json(versions.configuration),
        },
    )


_SETTINGS = render(
    "select current_setting('lock_timeout'), current_setting('transaction_isolation')"
)

_LOCK_RECORDS: LiteralString = "lock table {records} in share row exclusive mode"

_LOCK_SHADOW: LiteralString = "lock table {shadow} in share row exclusive mode"

# Writers wait for this. It reads the keys of both tables, and records only for missing positions.
_MISSING: LiteralString = """
select coalesce(array_agg(v.pos), '{{}}')
from (
    select v.pos, v.seq from {vectors} as v
    where not exists (select from {shadow} as s where s.pos = v.pos)
    offset 0
) as v
join {records} as r on r.seq = v.seq and r.pos = v.pos
"""

_STILL_MISSING: LiteralString = """
select count(*) from unnest(%(positions)b::bigint[]) as given (pos)
where not exists (select from {shadow} as s where s.pos = given.pos)
"""

# Deletes the pending embeddings whose record was deleted, or embedded again, since then.
# Writers wait for this as well; it reads keys only.
_DELETE_ORPHANS: LiteralString = """
delete from {shadow} as s where not exists (select from {vectors} as v where v.pos = s.pos)
"""

_SLEEP = render("select pg_sleep(0.01)")

_SET_CURRENT = render(
    """
    update pgchroma.collections
    set generation = %(generation)s, dimension = %(dimension)s,
        configuration = %(configuration)s::jsonb, index_error = null
    where id = %(id)s
    """
)

_SET_PREVIOUS = render(
    """
    update pgchroma.reembeddings
    set generation = %(generation)s, dimension = %(dimension)s,
        configuration = %(configuration)s::jsonb, is_previous = true
    where collection_id = %(id)s
    """
)
