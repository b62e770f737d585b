"""One frozen value for each request that pgchroma answers, and the type of its answer.

A backend executes them: ``backend.execute(CountRecords(collection)) -> int``. Operations are
validated when they are created; backends do not validate them again.

Importing from the package gives every operation but those on credentials, which need more.
"""

from __future__ import annotations

from pgchroma.model.operations import (
    collections,
    indexing,
    records,
    reembedding,
    search,
    system,
    tenants,
)
from pgchroma.model.operations.base import CollectionRef, Operation, Read
from pgchroma.model.operations.collections import *  # noqa: F403
from pgchroma.model.operations.indexing import *  # noqa: F403
from pgchroma.model.operations.records import *  # noqa: F403
from pgchroma.model.operations.reembedding import *  # noqa: F403
from pgchroma.model.operations.search import *  # noqa: F403
from pgchroma.model.operations.system import *  # noqa: F403
from pgchroma.model.operations.tenants import *  # noqa: F403

__all__: tuple[str, ...] = ("CollectionRef", "Operation", "Read")
__all__ += collections.__all__
__all__ += indexing.__all__
__all__ += records.__all__
__all__ += reembedding.__all__
__all__ += search.__all__
__all__ += system.__all__
__all__ += tenants.__all__
