"""Mem0's vector store on Chroma: embeddings and metadata without documents.

python with_mem0.py <base-url> [<api-key>]
"""

from __future__ import annotations

from support import arguments, bare, connect, unique

bare("mem0")
from mem0.vector_stores.chroma import ChromaDB  # noqa: E402  (its package loads every vendor's)


def main() -> None:
    client = connect(*arguments())
    store = ChromaDB(unique("mem0"), client=client)
    payloads = [{"user_id": "ann", "n": 1}, {"user_id": "bob", "n": 2}, {"user_id": "ann", "n": 3}]
    store.insert([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], payloads, ["a", "b", "c"])
    found = store.search("", [[1.0, 0.1]], top_k=2)
    assert [memory.id for memory in found] == ["a", "c"], found
    assert found[0].payload == payloads[0]
    assert 0.9 < found[0].score <= 1.0
    found = store.search("", [[1.0, 0.1]], filters={"user_id": "ann", "n": {"gte": 2}})
    assert [memory.id for memory in found] == ["c"], found
    assert sorted(memory.id for memory in store.list({"user_id": "ann"})[0]) == ["a", "c"]
    store.update("a", vector=[0.0, 1.0], payload={"user_id": "eve"})
    assert store.get("a").payload["user_id"] == "eve"
    store.delete("b")
    assert len(store.list()[0]) == 2
    assert store.collection_name in [collection.name for collection in store.list_cols()]
    store.reset()
    assert store.list()[0] == []
    store.delete_col()
    client.close()


if __name__ == "__main__":
    main()
