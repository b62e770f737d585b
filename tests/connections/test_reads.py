"""Which operations may be repeated when their connection is lost: those that only read."""

from __future__ import annotations

from typing import Any

import pgchroma
from pgchroma.model.operations import (
    CompareEmbeddings,
    GetCollectionByCrn,
    GetUnembedded,
    ListTenants,
    Operation,
    Read,
)
from pgchroma.model.operations.credentials import FindCredential, ListCredentials
from pgchroma.store import handlers


def test_what_counts_as_reading_works_in_a_read_only_transaction(url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        collection = client.create_collection("papers", embedding_function=None)
        collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]], documents=["a", "b"])
    settings = pgchroma.Settings(migrations="validate", pgchroma_compaction=False)
    read_only = f"{url} options='-c default_transaction_read_only=on'"
    with pgchroma.PostgresClient(read_only, settings) as client:
        seen = _watched(client)
        client.heartbeat()
        client.get_version()
        client.get_user_identity()
        client.get_tenant("default_tenant")
        client.get_database("default_database")
        client.list_databases()
        client.list_collections()
        client.count_collections()
        collection = client.get_collection("papers", embedding_function=None)
        collection.count()
        collection.get()
        collection.query(query_embeddings=[[1.0]])
        collection.explain(query_embeddings=[[1.0]])
        collection.recall(sample=2)
        collection.search(pgchroma.Search(rank=pgchroma.Knn([1.0])))
        client.get_collection_by_id(collection.id, embedding_function=None)
        collection.get_indexing_status()
        collection.sqlalchemy_table()
        collection.get_reembedding()
    # These want more than a collection, or are asked by the server alone.
    others: set[type[Operation[Any]]] = {
        CompareEmbeddings,
        GetUnembedded,
        GetCollectionByCrn,
        FindCredential,
        ListCredentials,
        ListTenants,
    }
    reading = {kind for kind in handlers if issubclass(kind, Read)}
    assert seen == reading - others
    assert {kind for kind in handlers if kind.only_reads} == reading


def _watched(client: Any) -> set[type[Operation[Any]]]:
    seen: set[type[Operation[Any]]] = set()
    execute = client._backend.execute

    def watched(operation: Operation[Any]) -> Any:
        seen.add(type(operation))
        return execute(operation)

    client._backend.execute = watched
    return seen
