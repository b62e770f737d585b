"""Write collections through a backend: into pgchroma, directly or over HTTP, or into Chroma."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    wait_random_exponential,
)

from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.http import HttpBackend
from pgchroma.backends.http_errors import read_response, transport_errors
from pgchroma.errors import (
    BatchSizeExceededError,
    ChromaError,
    InternalError,
    InvalidArgumentError,
    InvalidDimensionException,
    MalformedRequestError,
    NotFoundError,
    QuotaError,
    UnavailableError,
    UnimplementedError,
    UniqueConstraintError,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.operations import (
    AddRecords,
    CollectionRef,
    CountRecords,
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    DeleteCollection,
    GetCollection,
    GetDatabase,
    GetRecords,
    GetTenant,
    ModifyCollection,
    Operation,
    ReplaceCollection,
)
from pgchroma.model.records import RecordBatch, RecordColumns
from pgchroma.transfer.configuration import clean_metadata, creation_json, read_configuration
from pgchroma.transfer.source import Loss, SourceCollection
from pgchroma.wire.route import PREFIX

__all__ = ("ALL_COLUMNS", "BackendTarget", "Refused", "check_writable", "ref_of")

R = TypeVar("R")

SCHEMA: Final = "schema"
METADATA: Final = "metadata"

UNKNOWN_FUNCTION: Final = {"type": "unknown"}

ALL_COLUMNS: Final = frozenset({"documents", "embeddings", "metadatas", "uris"})

ATTEMPTS: Final = 6
"""How often an operation is tried if the target is away, beyond the backend's own attempts."""

MAX_AWAY_SECONDS: Final = 40.0
"""After how long no further attempt begins. One attempt of a backend may take half a minute."""

MAX_REFUSED: Final = 200
"""How many records may be refused one after the other before the transfer stops. A target that
refuses all of them has another reason."""

_REFUSALS: Final = frozenset(
    {
        BatchSizeExceededError, ChromaError, InternalError, InvalidArgumentError,
        InvalidDimensionException, MalformedRequestError, QuotaError, UnimplementedError,
    }
)  # fmt: skip
"""The errors that one record of a batch may cause. Subclasses are not meant: an unavailable target
is an internal error, too."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the target refuses, by its position in the batch."""

    position: int
    reason: str


def check_writable(backend: HttpBackend) -> None:
    """Raise if a server does not take embeddings as they are sent.

    Raises:
        InvalidArgumentError: It is Chroma's before version 1.0.
        UnavailableError: It cannot be reached.
    """
    with (
        httpx.Client(**backend.endpoint.options()) as client,
        transport_errors(backend.endpoint, is_idempotent=True),
    ):
        limits = read_response(client.get(f"{PREFIX}/pre-flight-checks"))
    if not isinstance(limits, dict) or not limits.get("supports_base64_encoding"):
        raise InvalidArgumentError(
            f"{backend.endpoint.address} is a server of Chroma before 1.0, which can be read and "
            "not written to: upgrade it"
        )


class BackendTarget:
    """The collections of a backend, as a transfer writes and reads them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._refused_in_a_row = 0

    @property
    def takes_missing_embeddings(self) -> bool:
        """Whether the target stores records that have no embedding."""
        return not isinstance(self._backend, HttpBackend)

    def batch_size(self, wanted: int) -> int:
        """Return how many records a batch may have."""
        return max(1, min(wanted, self._backend.limits().max_batch_size))

    def make_database(self, scope: DatabaseRef) -> None:
        """Create a database and its tenant, unless they exist."""
        if not self._exists(GetTenant(scope.tenant)):
            with suppress(UniqueConstraintError):  # another transfer created it
                self.execute(CreateTenant(scope.tenant))
        if not self._exists(GetDatabase(scope)):
            with suppress(UniqueConstraintError):
                self.execute(CreateDatabase(scope))

    def find(self, scope: DatabaseRef, name: str) -> CollectionModel | None:
        """Return a collection, or `None` if it or its database does not exist."""
        try:
            return self.execute(GetCollection(scope, name))
        except NotFoundError:
            return None

    def make(
        self, scope: DatabaseRef, name: str, source: SourceCollection
    ) -> tuple[CollectionModel, list[Loss]]:
        """Return the collection of a name, created like one of the source if it does not exist.

        What the target refuses of the schema, the configuration and the metadata is left out, and
        returned as losses.
        """
        wanted, losses = read_configuration(source)
        metadata, unfit = clean_metadata(source)
        filterable = None if wanted.filterable == FilterableKeys() else wanted.filterable
        complete = CreateCollection(
            scope, name, creation_json(wanted), metadata, get_or_create=True, filterable=filterable
        )
        made, omitted, refusal = self._make(complete, wanted)
        if METADATA in omitted and metadata is not None and self._describe(made, metadata):
            omitted = tuple(part for part in omitted if part != METADATA)
        if omitted and refusal is not None:
            reason = f"the target refuses its {' and '.join(omitted)}: {refusal.message()}"
            losses.append(Loss("collection", reason))
        return made, [*losses, *unfit, *_unkept(made.configuration, wanted)]

    def count(self, collection: CollectionRef) -> int:
        """Return the number of records."""
        return self.execute(CountRecords(collection))

    def id_at(self, collection: CollectionRef, position: int) -> str | None:
        """Return the id of the record at a position in insertion order."""
        found = self.execute(GetRecords(collection, frozenset(), limit=1, offset=position))
        return found.ids[0] if found.ids else None

    def existing_ids(self, collection: CollectionRef, ids: list[str]) -> set[str]:
        """Return those of some ids that records have."""
        return set(self.execute(GetRecords(collection, frozenset(), ids)).ids)

    def records(self, collection: CollectionRef, ids: list[str]) -> RecordColumns:
        """Return the records with these ids."""
        return self.execute(GetRecords(collection, ALL_COLUMNS, ids))

    def add(self, collection: CollectionRef, records: RecordBatch) -> list[Refused]:
        """Add records, and return those that the target refuses; the others are stored.

        Raises:
            ChromaError: The target cannot be written to, or refuses record after record.
        """
        if not len(records):
            return []
        try:
            self.execute(AddRecords(collection, records))
        except ChromaError as error:
            if type(error) not in _REFUSALS:
                raise
            return self._add_halves(collection, records, error)
        self._refused_in_a_row = 0
        return []

    def _add_halves(
        self, collection: CollectionRef, records: RecordBatch, error: ChromaError
    ) -> list[Refused]:
        if len(records) == 1:
            self._refused_in_a_row += 1
            if self._refused_in_a_row > MAX_REFUSED:
                raise error
            return [Refused(0, error.message())]
        middle = len(records) // 2
        refused = self.add(collection, records.part(0, middle))
        rest = self.add(collection, records.part(middle, len(records)))
        return refused + [replace(each, position=each.position + middle) for each in rest]

    def rename(self, collection: CollectionRef, name: str) -> None:
        """Give a collection another name.

        Raises:
            UniqueConstraintError: The name is taken.
        """
        self._backend.execute(ModifyCollection(collection, name))

    @property
    def replaces_at_once(self) -> bool:
        """Whether the target has `replace`; the API of servers does not."""
        return not isinstance(self._backend, HttpBackend)

    def replace(self, existing: CollectionModel, collection: CollectionRef) -> None:
        """Delete a collection and give its name to another one, in one transaction.

        Raises:
            NotFoundError: The collection to delete does not have its name any more.
        """
        self._backend.execute(ReplaceCollection(collection, existing.name, existing.id))

    def delete(self, scope: DatabaseRef, name: str) -> None:
        """Delete a collection, if it exists."""
        with suppress(NotFoundError):
            self._backend.execute(DeleteCollection(scope, name))

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation that may be repeated, and repeat it if the target is away."""
        policy = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop_any(stop_after_attempt(ATTEMPTS), stop_after_delay(MAX_AWAY_SECONDS)),
            wait=wait_random_exponential(multiplier=0.2, max=5.0),
            reraise=True,
        )
        answer: R = policy(self._backend.execute, operation)
        return answer

    def _exists(self, operation: Operation[Any]) -> bool:
        try:
            self.execute(operation)
        except NotFoundError:
            return False
        return True

    def _make(
        self, complete: CreateCollection, wanted: CollectionConfiguration
    ) -> tuple[CollectionModel, tuple[str, ...], ChromaError | None]:
        """Create a collection with as many parts as the target accepts.

        Returns:
            The collection, the parts that were omitted, and why the last one was.
        """
        refusal: ChromaError | None = None
        for create, omitted in _reduced(complete, wanted):
            try:
                made = self.execute(create)
            except ChromaError as error:
                if type(error) not in _REFUSALS:
                    raise
                refusal = error
                continue
            if made.configuration.hnsw.space == wanted.hnsw.space:
                return made, omitted, refusal
            # Settings in the metadata prevail over a configuration that has only defaults.
            self.delete(complete.scope, complete.name)
            refusal = InvalidArgumentError(f"its distance became {made.configuration.hnsw.space}")
        raise refusal or InvalidArgumentError(f"the target cannot store {complete.name}")

    def _describe(self, made: CollectionModel, metadata: dict[str, Any]) -> bool:
        """Set the metadata of a collection that exists; return whether the target accepts it."""
        try:
            self.execute(ModifyCollection(ref_of(made), metadata=metadata))
        except ChromaError as error:
            if type(error) not in _REFUSALS:
                raise
            return False
        return True


def ref_of(model: CollectionModel) -> CollectionRef:
    """Return the reference of a collection."""
    return CollectionRef(DatabaseRef(model.tenant, model.database), model.id)


def _reduced(
    complete: CreateCollection, wanted: CollectionConfiguration
) -> Iterator[tuple[CreateCollection, tuple[str, ...]]]:
    """Yield requests of which each has fewer parts, with the names of the omitted ones."""
    yield complete, ()
    configuration = dict(complete.configuration or {})
    if configuration.get("embedding_function") == UNKNOWN_FUNCTION:
        # It says that no function was named, which older servers do not distinguish from none.
        del configuration["embedding_function"]
        complete = replace(complete, configuration=configuration)
        yield complete, ()
    if complete.filterable is not None:
        yield replace(complete, filterable=None), (SCHEMA,)
    if complete.metadata is not None:
        yield replace(complete, metadata=None), (METADATA,)
    least = {"hnsw": {"space": wanted.hnsw.space}}
    if configuration != least:
        reduced = replace(complete, configuration=least, metadata=None, filterable=None)
        yield reduced, (SCHEMA, METADATA, "configuration")


def _unkept(made: CollectionConfiguration, wanted: CollectionConfiguration) -> list[Loss]:
    """Return the parts of a configuration that a target accepted and did not store."""
    losses = []
    if wanted.filterable.text is not None and made.filterable.text is None:
        losses.append(Loss("collection", "the target has no full-text index"))
    if wanted.filterable.sparse and not made.filterable.sparse:
        losses.append(Loss("collection", "the target has no index of sparse vectors"))
    return losses
