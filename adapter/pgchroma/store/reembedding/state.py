"""The versions of a collection's embeddings: the current ones, and pending or previous ones.

Embeddings of another function have a separate table, at the same positions in the log as the
current ones. Every write of an embedding takes a new position. A position without a pending
embedding is therefore one that has yet to be embedded, whichever session wrote it and when; and
switching to the pending embeddings changes no record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson
from psycopg import sql

from pgchroma.errors import NotFoundError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.operations import CollectionRef
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.layout.upgrading import check_layout
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("EmbeddingVersions", "find_versions", "stored_json")


@dataclass(frozen=True, slots=True)
class EmbeddingVersions:
    """A collection with both of its tables of embeddings.

    Attributes:
        current: The tables with the current embeddings.
        configuration: The collection's configuration.
        dimension: The length of the current embeddings; `None` if there are none.
        shadow: The tables with the pending or previous embeddings; `None` if there are none.
        shadow_configuration: The collection's configuration with those embeddings.
        shadow_dimension: Their length.
        is_previous: Whether they are previous embeddings, which no session is switching back to.
    """

    name: str
    current: CollectionTables
    configuration: CollectionConfiguration
    dimension: int | None
    shadow: CollectionTables | None
    shadow_configuration: CollectionConfiguration
    shadow_dimension: int
    is_previous: bool

    @property
    def shadow_tables(self) -> CollectionTables:
        """The tables with the pending or previous embeddings.

        Raises:
            NotFoundError: There are none.
        """
        if self.shadow is None:
            raise NotFoundError(f"Collection [{self.name}] has no pending embeddings")
        return self.shadow

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """The names of the tables, for the text of a statement.

        Raises:
            NotFoundError: There are no pending or previous embeddings.
        """
        return {
            "records": self.current.records,
            "vectors": self.current.vectors,
            "shadow": self.shadow_tables.vectors,
        }

    def is_current(self, generation: int) -> bool:
        """Whether the collection has switched to the pending embeddings of a generation.

        Raises:
            NotFoundError: These embeddings do not exist any more.
        """
        if self.current.generation == generation:
            return True
        if self.shadow is None or self.shadow.generation != generation:
            raise NotFoundError(
                f"Collection [{self.name}] no longer has these pending embeddings: they have been "
                "dropped"
            )
        return False


def find_versions(
    collection: CollectionRef, *, is_locked: bool = False
) -> Steps[EmbeddingVersions]:
    """Return a collection with both of its tables of embeddings.

    Args:
        collection: The collection.
        is_locked: Whether to lock its row in the catalog until the transaction ends.

    Raises:
        NotFoundError: It does not exist.
        OldLayoutError: Its tables have an older layout.
    """
    parameters = {
        "id": collection.id,
        "tenant": collection.scope.tenant,
        "database": collection.scope.database,
    }
    if is_locked:
        # A separate statement: the next one sees what was committed while this one waited.
        yield Statement(_LOCK, parameters)
    rows = yield Statement(_SELECT_VERSIONS, parameters)
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    layout, name, schema, generation, stored, dimension, *shadow = rows[0]
    check_layout(collection.id, layout)
    configuration = CollectionConfiguration.from_json(orjson.loads(stored))
    current = CollectionTables(schema, collection.id, generation)
    shadow_generation, shadow_stored, shadow_dimension, is_previous = shadow
    if shadow_generation is None:
        return EmbeddingVersions(
            name, current, configuration, dimension, None, configuration, 0, False
        )
    return EmbeddingVersions(
        name,
        current,
        configuration,
        dimension,
        replace(current, generation=shadow_generation, is_shadow=True),
        CollectionConfiguration.from_json(orjson.loads(shadow_stored)),
        shadow_dimension,
        is_previous,
    )


def stored_json(configuration: CollectionConfiguration) -> str:
    """Return a configuration as the catalog stores it."""
    return orjson.dumps(configuration.to_stored_json()).decode()


_LOCK = render(
    """
    select from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    for no key update of c
    """
)

_SELECT_VERSIONS = render(
    """
    select
        c.layout_version, c.name, d.schema_name, c.generation, c.configuration::text, c.dimension,
        r.generation, r.configuration::text, r.dimension, r.is_previous
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    left join pgchroma.reembeddings as r on r.collection_id = c.id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    """
)
