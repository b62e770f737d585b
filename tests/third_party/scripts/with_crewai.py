"""CrewAI's storage on Chroma: texts under hashes, upserted in batches.

python with_crewai.py <base-url> [<api-key>]
"""

from __future__ import annotations

from support import Letters, arguments, bare, connect, unique

bare("crewai", "crewai.rag", "crewai.rag.chromadb", "crewai.utilities")
from crewai.rag.chromadb.client import ChromaDBClient  # noqa: E402  (without all its agents)

DOCUMENTS = [
    {"content": "cats purr", "metadata": {"source": "one"}},
    {"content": "dogs bark", "metadata": {"source": "two"}},
    {"content": "cars honk", "metadata": {"source": "two"}},
]


def main() -> None:
    client = connect(*arguments())
    storage = ChromaDBClient(client, Letters(), default_score_threshold=0.0)
    name = unique("crew")
    storage.get_or_create_collection(collection_name=name)
    storage.add_documents(collection_name=name, documents=DOCUMENTS, batch_size=2)
    storage.add_documents(collection_name=name, documents=DOCUMENTS[:1])
    assert storage.get_or_create_collection(collection_name=name).count() == 3
    best, *_ = storage.search(collection_name=name, query="cats purr", limit=2)
    assert best["content"] == "cats purr"
    assert best["score"] > 0.99, "the distance is read from the collection"
    found = storage.search(collection_name=name, query="cats", metadata_filter={"source": "two"})
    assert sorted(each["content"] for each in found) == ["cars honk", "dogs bark"]
    storage.delete_collection(collection_name=name)
    client.close()


if __name__ == "__main__":
    main()
